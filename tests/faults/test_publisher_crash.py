"""SIGKILL around a publish: a real child and broker; each row arrives, under one number."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fogline import failpoints, topics
from fogline.clock import wait_until
from fogline.mqtt import Login, Message, MqttConnection
from fogline.wire import fleet_pb2
from fogline.wire.auth import seal, unseal
from fogline_edge.outbox import Outbox
from tests.brokers import Broker, broker

__all__ = ["broker"]

UP, DOWN = b"u" * 32, b"d" * 32
ROWS = 10

DEVICE = """
import sys, threading
from pathlib import Path
from fogline import topics
from fogline.mqtt import Login, MqttConnection
from fogline_edge.link import DeviceKeys, Publisher
from fogline_edge.outbox import Outbox
outbox = Outbox.open(Path(sys.argv[1]))
if not outbox.counts()["sample"].appended:
    outbox.append([("sample", b"%d" % n) for n in range(1, 11)])
keys = DeviceKeys(device="d1", up_key=b"u" * 32, down_key=b"d" * 32)
connection = MqttConnection(
    sys.argv[2],
    login=Login(client_id="d1", username="device", password="device-secret"),
    on_message=lambda m: publisher.on_ack(m.payload),
    on_connect=lambda: publisher.connected(),
    subscriptions=(topics.down("d1", "ack"),),
)
publisher = Publisher(outbox, connection, keys)
publisher.start()
connection.start()
print("running", flush=True)
sys.stdin.read()
publisher.stop()
connection.close()
outbox.close()
"""


class Hub:
    """Acknowledges each message as soon as it came; counts what came."""

    def __init__(self, address: str) -> None:
        self.seen: list[tuple[str, int, bytes]] = []
        self._counter = 0
        self.connection = MqttConnection(
            address,
            login=Login(client_id="hub", username="hub", password="hub-secret"),
            on_message=self.take,
            subscriptions=(topics.UP_LOGS,),
        )

    def take(self, message: Message) -> None:
        log = unseal(fleet_pb2.Log, message.payload, key=UP, direction="up", topic=message.topic)
        self.seen.append((log.outbox_id, log.seq, log.body))
        numbers = {seq for _, seq, _ in self.seen}
        upto = next(n for n in range(1, ROWS + 2) if n not in numbers) - 1
        ack = fleet_pb2.Ack(outbox_id=log.outbox_id, stream=log.stream, contiguous_to=upto)
        self._counter += 1
        signed = fleet_pb2.Signed(body=ack.SerializeToString(), counter=self._counter)
        topic = topics.down("d1", "ack")
        self.connection.publish(topic, seal(signed, key=DOWN, direction="down", topic=topic))


def start_device(path: Path, address: str, failpoint: str = "") -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", DEVICE, str(path), address],
        env={**os.environ, "FOGLINE_FAILPOINT": failpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "failpoint",
    [
        "publish.before:1",
        "publish.before:4",
        "publish.after:1",
        "publish.after:4",
        "outbox.ack.before_commit:2",
        "outbox.ack.after_commit:2",
    ],
)
def test_a_killed_device_loses_and_doubles_nothing(
    tmp_path: Path, broker: Broker, failpoint: str
) -> None:
    path = tmp_path / "outbox.db"
    hub = Hub(broker.address)
    hub.connection.start()
    assert wait_until(lambda: hub.connection.is_connected, timeout_s=10)
    device = start_device(path, broker.address, failpoint)
    assert device.wait(timeout=30) == -signal.SIGKILL
    assert device.stdin is not None
    device.stdin.close()

    again = start_device(path, broker.address)
    assert again.stdin is not None
    try:
        assert wait_until(lambda: len({seq for _, seq, _ in hub.seen}) == ROWS, timeout_s=30)
    finally:
        again.stdin.close()
        assert again.wait(timeout=30) == 0
        hub.connection.close()

    assert {(seq, body) for _, seq, body in hub.seen} == {
        (n, b"%d" % n) for n in range(1, ROWS + 1)
    }
    assert len({outbox_id for outbox_id, _, _ in hub.seen}) == 1
    outbox = Outbox.open(path)
    assert outbox.counts()["sample"].appended == ROWS
    outbox.close()


def test_every_boundary_of_the_publisher_is_covered() -> None:
    assert {p for p in failpoints.POINTS if p.startswith("publish.")} == {
        "publish.before",
        "publish.after",
    }
