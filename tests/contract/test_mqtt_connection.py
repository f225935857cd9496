"""`MqttConnection` against a real broker."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fogline.clock import wait_until
from fogline.errors import Exhausted, InvalidInput, Unavailable, Unsupported
from fogline.mqtt import Login, Message, MqttConfig, MqttConnection
from fogline.topics import MAX_PAYLOAD_BYTES
from tests.brokers import Broker, broker

__all__ = ["broker"]

QUICK = MqttConfig(reconnect_base_s=0.05, reconnect_cap_s=0.2)


class Inbox:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.connects = 0

    def take(self, message: Message) -> None:
        self.messages.append(message)

    def connected(self) -> None:
        self.connects += 1


@contextmanager
def connected(
    address: str,
    *,
    inbox: Inbox,
    user: str = "device",
    password: str = "",
    subscriptions: tuple[str, ...] = (),
    on_message: Callable[[Message], None] | None = None,
    config: MqttConfig = QUICK,
    wait: bool = True,
) -> Iterator[MqttConnection]:
    connection = MqttConnection(
        address,
        login=Login(client_id=f"{user}-1", username=user, password=password or f"{user}-secret"),
        on_message=on_message or inbox.take,
        on_connect=inbox.connected,
        subscriptions=subscriptions,
        config=config,
        rng=random.Random(1).random,
    )
    connection.start()
    try:
        if wait:
            assert wait_until(lambda: connection.is_connected, timeout_s=10)
        yield connection
    finally:
        connection.close()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def test_a_message_travels_between_two_connections(broker: Broker, inbox: Inbox) -> None:
    with (
        connected(broker.address, inbox=inbox, user="hub", subscriptions=("fl/1/up/+/+/log/+",)),
        connected(broker.address, inbox=Inbox()) as device,
    ):
        device.publish("fl/1/up/3/d/log/event", b"\x00\xff" * 100).result(timeout=5)
        assert wait_until(lambda: len(inbox.messages) == 1, timeout_s=5)
    assert inbox.messages == [Message("fl/1/up/3/d/log/event", b"\x00\xff" * 100, False)]


def test_qos_0_ends_when_it_is_written(broker: Broker, inbox: Inbox) -> None:
    with connected(broker.address, inbox=inbox, subscriptions=("a/b",)) as connection:
        connection.publish("a/b", b"x", qos=0).result(timeout=5)
        assert wait_until(lambda: len(inbox.messages) == 1, timeout_s=5)


def test_it_comes_back_with_its_subscriptions_after_the_broker_was_killed(
    broker: Broker, inbox: Inbox
) -> None:
    with connected(broker.address, inbox=inbox, subscriptions=("a/+",)) as connection:
        broker.kill()
        assert wait_until(lambda: not connection.is_connected, timeout_s=5)
        with pytest.raises(Unavailable, match="not connected"):
            connection.publish("a/b", b"lost")
        broker.start()
        assert wait_until(lambda: connection.is_connected, timeout_s=10)
        assert wait_until(lambda: inbox.connects == 2, timeout_s=5)
        connection.publish("a/b", b"found").result(timeout=5)
        assert wait_until(lambda: bool(inbox.messages), timeout_s=5)
    assert [m.payload for m in inbox.messages] == [b"found"]


def test_a_future_fails_when_the_session_ends_before_its_puback(
    broker: Broker, inbox: Inbox
) -> None:
    with connected(broker.address, inbox=inbox) as connection:
        broker.freeze()
        future = connection.publish("a/b", b"x")
        broker.kill()
        with pytest.raises(Unavailable, match="before the broker's PUBACK"):
            future.result(timeout=5)


def test_messages_in_flight_are_bounded(broker: Broker, inbox: Inbox) -> None:
    config = MqttConfig(max_in_flight=3)
    with connected(broker.address, inbox=inbox, config=config) as connection:
        broker.freeze()
        futures = [connection.publish("a/b", b"x") for _ in range(3)]
        with pytest.raises(Exhausted, match="3 messages wait"):
            connection.publish("a/b", b"x")
        broker.thaw()
        for future in futures:
            future.result(timeout=5)
        connection.publish("a/b", b"x").result(timeout=5)


def test_a_slow_receiver_loses_nothing_and_may_publish(broker: Broker, inbox: Inbox) -> None:
    gate = threading.Event()
    echoes: list[bytes] = []

    def take(message: Message) -> None:
        gate.wait(10)
        echoes.append(message.payload)
        if message.topic == "in/x":
            connection.publish("out/x", b"echo " + message.payload)

    with connected(
        broker.address, inbox=inbox, subscriptions=("in/x", "out/x"), on_message=take
    ) as connection:
        for n in range(20):
            connection.publish("in/x", b"%d" % n).result(timeout=5)
        gate.set()
        assert wait_until(lambda: len(echoes) == 40, timeout_s=10)
    assert sorted(echoes[:]) == sorted(
        [b"%d" % n for n in range(20)] + [b"echo %d" % n for n in range(20)]
    )


def test_a_callback_that_raises_does_not_end_the_connection(broker: Broker, inbox: Inbox) -> None:
    def take(message: Message) -> None:
        inbox.take(message)
        if message.payload == b"bad":
            raise ValueError("bad message")

    with connected(
        broker.address, inbox=inbox, subscriptions=("a/b",), on_message=take
    ) as connection:
        connection.publish("a/b", b"bad")
        connection.publish("a/b", b"good")
        assert wait_until(lambda: len(inbox.messages) == 2, timeout_s=5)
        assert connection.is_connected


def test_a_wrong_password_is_named_and_tried_again(broker: Broker, inbox: Inbox) -> None:
    with connected(broker.address, inbox=inbox, password="wrong", wait=False) as connection:
        assert wait_until(lambda: "refused the connection" in connection.last_error, timeout_s=10)
        assert not connection.is_connected
        with pytest.raises(Unavailable, match="refused the connection"):
            connection.publish("a/b", b"x")


def test_what_cannot_be_sent_is_refused_at_once(broker: Broker, inbox: Inbox) -> None:
    with connected(broker.address, inbox=inbox) as connection:
        connection.publish("a/b", bytes(MAX_PAYLOAD_BYTES)).result(timeout=5)
        with pytest.raises(InvalidInput, match="65537 bytes, at most 65536"):
            connection.publish("a/b", bytes(MAX_PAYLOAD_BYTES + 1))
        with pytest.raises(InvalidInput, match="QoS 2"):
            connection.publish("a/b", b"", qos=2)
        with pytest.raises(InvalidInput, match="topic"):
            connection.publish("a/#", b"")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff" * 64,
        b"\x20\x00",
        b"\x20\x02\x00",
        b"\x20\xff\xff\xff\xff",
        b"\x90\x00",
        b"\x20\x02\x00\x00\x30\x01\x00",
        b"\x20\x02\x00\x00\x32\x06\x00\x02\xff\xfe\x00\x01",
    ],
)
def test_a_peer_that_talks_nonsense_does_not_end_the_reconnecting(
    garbage: bytes, inbox: Inbox
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with connected(f"127.0.0.1:{server.getsockname()[1]}", inbox=inbox, wait=False):
            for _ in range(3):
                peer, _ = server.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(garbage)
    assert inbox.messages == []


def test_a_sent_message_cannot_be_cancelled(broker: Broker, inbox: Inbox) -> None:
    with connected(broker.address, inbox=inbox) as connection:
        broker.freeze()
        future = connection.publish("a/b", b"x")
        assert not future.cancel()
        broker.thaw()
        future.result(timeout=5)


def test_close_ends_both_threads_also_without_a_broker(inbox: Inbox) -> None:
    before = threading.active_count()
    with connected("127.0.0.1:1", inbox=inbox, wait=False) as connection:
        assert wait_until(lambda: connection.last_error != "", timeout_s=5)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:0", "localhost:x", ":1883", "broker.example:1883"]
)
def test_a_malformed_address_is_named(address: str, inbox: Inbox) -> None:
    with pytest.raises(InvalidInput, match=r"HOST:PORT|a port from|must be an IP address"):
        MqttConnection(
            address, login=Login(client_id="a", username="a", password="a"), on_message=inbox.take
        )


def test_an_address_beyond_this_machine_is_refused_with_the_reason(inbox: Inbox) -> None:
    with pytest.raises(Unsupported, match="without TLS"):
        MqttConnection(
            "192.0.2.1:1883",
            login=Login(client_id="a", username="a", password="a"),
            on_message=inbox.take,
        )


def test_a_login_keeps_its_password_out_of_repr() -> None:
    assert "hunter2" not in repr(Login(client_id="a", username="b", password="hunter2"))
