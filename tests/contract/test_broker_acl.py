"""Who may say and hear what at the embedded broker, tried on the real one.

MQTT 3.1.1 answers a denied PUBLISH with PUBACK like any other, so what counts is what arrives.
"""

import secrets

import pytest

from fogline import topics
from fogline.clock import wait_until
from fogline.ids import shard_of
from fogline.mqtt import Login
from tests.hub_brokers import HubBroker, hub_broker

__all__ = ["hub_broker"]

A, B = "device-a", "device-b"


def test_a_device_speaks_on_its_own_topics_and_the_hub_hears_it(hub_broker: HubBroker) -> None:
    hub_broker.add(A)
    _, heard = hub_broker.connect_hub("ingest", topics.UP_LOGS)
    device, _ = hub_broker.connect_device(A)
    device.publish(topics.up_log(A, "sample"), b"mine").result(10)
    assert wait_until(lambda: heard.messages != [], timeout_s=10)
    assert [(m.topic, m.payload) for m in heard.messages] == [(topics.up_log(A, "sample"), b"mine")]


def test_what_a_device_says_on_topics_of_others_reaches_nobody(hub_broker: HubBroker) -> None:
    hub_broker.add(A, B)
    _, logs = hub_broker.connect_hub("ingest", topics.UP_LOGS)
    _, states = hub_broker.connect_hub("api", topics.UP_STATES)
    _, downs = hub_broker.connect_device(B, topics.down(B, "+"))
    device, _ = hub_broker.connect_device(A)
    wrong_shard = (shard_of(A) + 1) % 16
    for topic in (
        topics.up_log(B, "sample"),
        topics.up_state(B),
        topics.down(B, "ack"),
        topics.down(A, "desired"),
        f"fl/1/up/{wrong_shard}/{A}/log/sample",
        f"fl/1/up/{shard_of(A)}/{A}.{B}/log/sample",
        f"fl/1/up/{shard_of(A)}/{A}",
        f"fl/1/up/{shard_of(A)}/{A}/log/anything",
    ):
        device.publish(topic, b"forged").result(10)  # PUBACK comes all the same
    device.publish(topics.up_log(A, "event"), b"last").result(10)
    device.publish(topics.up_state(A), b"last").result(10)
    assert wait_until(lambda: logs.messages != [] and states.messages != [], timeout_s=10)
    assert logs.topics() == [topics.up_log(A, "event")]
    assert states.topics() == [topics.up_state(A)]
    assert downs.messages == []


@pytest.mark.parametrize(
    "wanted",
    [
        topics.down(B, "+"),
        topics.down(B, "#"),
        "fl/1/down/+/ack",
        "fl/1/down/#",
        "fl/1/up/#",
        "+/1/down/#",
        "#",
        "$MQTT/sub/#",
        "$MQTT/#",
        "$JS/#",
        "$SYS/#",
    ],
)
def test_a_device_cannot_subscribe_beyond_its_own_down_topics(
    hub_broker: HubBroker, wanted: str
) -> None:
    hub_broker.add(A)
    device, inbox = hub_broker.connect(hub_broker.device_login(A), wanted, wait=False)
    assert wait_until(lambda: device.last_error != "", timeout_s=10)
    assert not device.is_connected
    hub, _ = hub_broker.connect_hub("ingest")
    hub.publish(topics.down(B, "ack"), b"secret").result(10)
    assert inbox.messages == []


@pytest.mark.parametrize("pattern", ["+", "#"])
def test_a_device_hears_what_the_hub_says_to_it_alone(hub_broker: HubBroker, pattern: str) -> None:
    hub_broker.add(A, B)
    hub, _ = hub_broker.connect_hub("ingest")
    _, heard_a = hub_broker.connect_device(A, topics.down(A, pattern))
    _, heard_b = hub_broker.connect_device(B, topics.down(B, pattern))
    hub.publish(topics.down(B, "ack"), b"for b").result(10)
    hub.publish(topics.down(A, "ack"), b"for a").result(10)
    assert wait_until(lambda: heard_a.messages != [] and heard_b.messages != [], timeout_s=10)
    assert [m.payload for m in heard_a.messages] == [b"for a"]
    assert [m.payload for m in heard_b.messages] == [b"for b"]


def test_ingest_can_acknowledge_but_not_give_orders(hub_broker: HubBroker) -> None:
    hub_broker.add(A)
    ingest, _ = hub_broker.connect_hub("ingest")
    _, heard = hub_broker.connect_device(A, topics.down(A, "+"))
    ingest.publish(topics.down(A, "desired"), b"order").result(10)
    ingest.publish(topics.down(A, "ack"), b"ack").result(10)
    assert wait_until(lambda: heard.messages != [], timeout_s=10)
    assert heard.topics() == [topics.down(A, "ack")]


def test_a_wrong_password_and_an_unknown_user_are_refused(hub_broker: HubBroker) -> None:
    hub_broker.add(A)
    for username in (f"d-{A}", "nobody", "hub-api"):
        login = Login(
            client_id=secrets.token_hex(8), username=username, password=secrets.token_hex(32)
        )
        device, _ = hub_broker.connect(login, wait=False)
        assert wait_until(lambda d=device: "refused" in d.last_error, timeout_s=10)  # type: ignore[misc]
        device.close()


def test_a_removed_device_is_cut_off_when_apply_returns(hub_broker: HubBroker) -> None:
    hub_broker.add(A, B)
    gone, _ = hub_broker.connect_device(A)
    kept, _ = hub_broker.connect_device(B)
    hub_broker.devices = [user for user in hub_broker.devices if user.device != A]
    hub_broker.users.apply()
    assert wait_until(lambda: "refused" in gone.last_error, timeout_s=10)
    assert kept.is_connected
