"""A hub reduced to what ingest needs: real broker, signer and ingest; scripted devices."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pytest

from fogline import topics
from fogline.clock import SystemClock, wait_until
from fogline.mqtt import Message, MqttConnection
from fogline.records import canonical_json
from fogline.sandbox import Child, start_child
from fogline.wire.auth import derive_key, seal, unseal
from fogline.wire.fleet_pb2 import Ack, Event, Feedbacks, Log, Samples, Scope, Signed
from fogline_hub.ingest import IngestConfig
from fogline_hub.lake import Lake, RangeSet
from fogline_hub.signer import create_trust, socket_path
from fogline_hub.signer.server import SignerServer
from fogline_hub.signer.trust import open_desk
from tests.hub_brokers import HubBroker

QUICK = IngestConfig(commit_interval_s=0.05, retry_s=0.05, full_note_every=4)


@dataclass(frozen=True)
class DeviceKeys:
    up: bytes
    down: bytes


class ScriptedDevice:
    """A device that publishes numbered messages and repeats what no ack has named."""

    def __init__(self, device: str, keys: DeviceKeys, outbox_id: str = "outbox-1") -> None:
        self.device = device
        self.outbox_id = outbox_id
        self.keys = keys
        self.acks: list[Ack] = []
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.connection: MqttConnection | None = None

    def receive(self, message: Message) -> None:
        signed = unseal(
            Signed, message.payload, key=self.keys.down, direction="down", topic=message.topic
        )
        self.acks.append(Ack.FromString(signed.body))

    def acknowledged(self, stream: str) -> RangeSet:
        """All numbers of a stream that acks have named."""
        known = RangeSet()
        for ack in self.acks:
            if (ack.outbox_id, ack.stream) == (self.outbox_id, stream):
                if ack.contiguous_to:
                    known.add(1, ack.contiguous_to)
                for r in ack.ranges:
                    known.add(r.first, r.last)
        return known

    def unacknowledged(self, stream: str) -> list[int]:
        known = self.acknowledged(stream)
        return sorted(n for s, n in self.bodies if s == stream and n not in known)

    def log(self, stream: str, seq: int, body: bytes, floor: int = 1) -> bytes:
        message = Log(outbox_id=self.outbox_id, stream=stream, seq=seq, floor=floor, body=body)
        topic = topics.up_log(self.device, stream)
        return seal(message, key=self.keys.up, direction="up", topic=topic)

    def send(self, stream: str, seq: int, body: bytes, floor: int = 1) -> None:
        self.bodies[stream, seq] = body
        self.publish(stream, self.log(stream, seq, body, floor))

    def publish(self, stream: str, payload: bytes) -> None:
        assert self.connection is not None
        self.connection.publish(topics.up_log(self.device, stream), payload).result(10)

    def resend(self, stream: str) -> None:
        missing = self.unacknowledged(stream)
        for seq in missing:
            self.send(stream, seq, self.bodies[stream, seq], floor=missing[0])


@dataclass
class IngestHub:
    """The parts, below one data folder."""

    folder: Path
    broker: HubBroker
    signer: SignerServer
    child: Child | None = None

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake")

    def start(
        self, *, failpoint: str = "", config: IngestConfig = QUICK, wait: bool = True
    ) -> Child:
        self.child = start_child(
            [
                sys.executable,
                "-m",
                "fogline_hub.ingest",
                str(self.folder),
                "--mqtt",
                self.broker.address,
            ],
            stdin=canonical_json(config),
            env={"FOGLINE_FAILPOINT": failpoint} if failpoint else {},
            stderr=None if os.environ.get("FOGLINE_TEST_LOGS") else -1,
        )
        if wait:
            self.child.wait_line("ready ", 30)
        return self.child

    def restart_signer(self) -> None:
        self.signer = SignerServer(socket_path(self.folder), open_desk(self.folder, SystemClock()))

    def device(self, name: str, outbox_id: str = "outbox-1") -> ScriptedDevice:
        if name not in {user.device for user in self.broker.devices}:
            self.broker.add(name)
        masters = {d: (self.folder / "keys" / f"{d}.key").read_bytes() for d in ("up", "down")}
        keys = DeviceKeys(**{d: derive_key(m, d, name) for d, m in masters.items()})
        device = ScriptedDevice(name, keys, outbox_id)
        connection, inbox = self.broker.connect_device(name, topics.down(name, "ack"))
        inbox.messages = _Feed(device)
        connection._on_message = inbox.messages.append
        device.connection = connection
        return device

    def seqs(self, table: str, device: str) -> list[int]:
        """Numbers of the stored messages of a device, one a row, sorted; not the hub's events."""
        own = pc.field("stream") != "hub" if table == "events" else None
        rows = self.lake.table(table).read(["device", "seq"], own)
        pairs = zip(rows["device"].to_pylist(), rows["seq"].to_pylist(), strict=True)
        return sorted(seq for d, seq in pairs if d == device)

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
        self.broker.close()
        self.signer.close()


class _Feed(list[Message]):
    def __init__(self, device: ScriptedDevice) -> None:
        super().__init__()
        self._device = device

    def append(self, message: Message) -> None:
        super().append(message)
        self._device.receive(message)


def event(kind: str = "started", **details: str) -> bytes:
    return Event(kind=kind, details=details).SerializeToString()


def samples(model: str = "rain", rows: int = 2, start: int = 0) -> Samples:
    """Rows with a float, an integer and a text column, and one output."""
    message = Samples(
        scope=Scope(model=model, version=1, variant="fp32", generation=7, window_us=3_600_000_000),
        prediction_ids=[f"p{start + i}" for i in range(rows)],
        row_in_request=[0] * rows,
        event_us=[1_000_000 * (start + i) for i in range(rows)],
        inclusion_probability=[0.5] * rows,
        policy="uniform",
    )
    message.inputs.add(name="dew", datatype="FP32", width=1, fp32=[0.5 + i for i in range(rows)])
    message.inputs.add(name="day", datatype="INT64", width=1, int64=list(range(rows)))
    message.inputs.add(name="site", datatype="BYTES", width=1, raw=[b"a"] * rows)
    message.outputs.add(name="label", datatype="INT64", width=1, int64=[i % 2 for i in range(rows)])
    return message


def feedback(*actuals: tuple[str, int], model: str = "rain") -> Feedbacks:
    message = Feedbacks()
    for prediction_id, value in actuals:
        message.items.add(prediction_id=prediction_id, model=model, version=1, int64_value=value)
    return message


def settle(hub: IngestHub, device: ScriptedDevice, stream: str, timeout_s: float = 20) -> None:
    """Waits until everything that the device sent is acknowledged."""
    if not wait_until(lambda: not device.unacknowledged(stream), timeout_s=timeout_s):
        raise AssertionError(f"not acknowledged: {device.unacknowledged(stream)}")


@pytest.fixture
def ingest_hub(tmp_path: Path) -> Iterator[IngestHub]:
    folder = tmp_path / "hub"
    create_trust(folder, tmp_path / "operator", SystemClock())
    broker = HubBroker(folder / "broker")
    socket_path(folder).parent.mkdir(mode=0o700, exist_ok=True)
    signer = SignerServer(socket_path(folder), open_desk(folder, SystemClock()))
    hub = IngestHub(folder, broker, signer)
    try:
        yield hub
    finally:
        hub.close()
