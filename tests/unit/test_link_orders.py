from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline import topics
from fogline.clock import ManualClock
from fogline.desired import DesiredModel, DesiredState, target_path
from fogline.errors import Conflict, Corrupt, FoglineError, Unsupported, Untrusted
from fogline.records import canonical_json
from fogline.wire.auth import seal
from fogline.wire.fleet_pb2 import Desired, Signed
from fogline_edge.link import DeviceKeys, Orders
from fogline_edge.outbox import Database, DeviceTime

KEYS = DeviceKeys(device="dev", up_key=b"u" * 32, down_key=b"d" * 32)
TOPIC = topics.down("dev", "desired")


def state(generation: int, version: int = 1) -> DesiredState:
    model = DesiredModel(
        name="rain", version=version, manifest="a" * 64, target=target_path("rain", version)
    )
    return DesiredState(generation=generation, models=(model,))


def sealed(
    wanted: DesiredState,
    counter: int,
    *,
    key: bytes = KEYS.down_key,
    topic: str = TOPIC,
    digest: str = "",
    generation: int = 0,
    expires_us: int = 2**62,
) -> bytes:
    document = canonical_json(wanted)
    body = Desired(
        generation=generation or wanted.generation,
        digest=digest or sha256(document).hexdigest(),
        document=document,
    )
    message = Signed(body=body.SerializeToString(), counter=counter, expires_us=expires_us)
    return seal(message, key=key, direction="down", topic=topic)


class Device:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.time = DeviceTime(self.clock, boot="boot")
        self.open()

    def open(self) -> None:
        self.database = Database.open(self.path)
        self.orders = Orders(self.database, KEYS, self.time)

    def restart(self) -> None:
        self.database.close()
        self.open()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path / "state.db")
    yield made
    made.database.close()


def test_orders_outlive_a_restart_with_their_counter(device: Device) -> None:
    assert device.orders.take(sealed(state(5), counter=1))
    device.restart()
    assert device.orders.current() == state(5)
    with pytest.raises(Untrusted, match="sent before"):
        device.orders.take(sealed(state(6), counter=1))


def test_the_same_document_again_changes_nothing(device: Device) -> None:
    device.orders.take(sealed(state(5), counter=1))
    assert not device.orders.take(sealed(state(5), counter=2))


def test_an_older_generation_is_refused(device: Device) -> None:
    device.orders.take(sealed(state(5), counter=1))
    with pytest.raises(Conflict, match="holds 5"):
        device.orders.take(sealed(state(4), counter=2))
    with pytest.raises(Conflict, match="two desired states"):
        device.orders.take(sealed(state(5, version=2), counter=3))
    assert device.orders.current() == state(5)


@pytest.mark.parametrize(
    "forged",
    [
        {"key": b"x" * 32},
        {"key": KEYS.up_key},
        {"topic": topics.down("dev", "ack")},
        {"topic": topics.down("other", "desired")},
        {"digest": "0" * 64},
    ],
)
def test_what_the_hub_did_not_make_for_this_device_is_refused(
    device: Device, forged: dict[str, object]
) -> None:
    with pytest.raises(Untrusted):
        device.orders.take(sealed(state(5), 1, **forged))  # type: ignore[arg-type]
    assert device.orders.current() is None


def test_a_stored_document_that_cannot_be_read_is_asked_for_again_and_not_an_older_one(
    device: Device,
) -> None:
    device.orders.take(sealed(state(5), counter=1))
    with device.database.transaction() as connection:
        connection.execute("UPDATE orders SET document = ?", (b'{"generation":5,"later":1}',))
    device.restart()
    assert device.orders.current() is None
    assert device.orders.generation == 0
    with pytest.raises(Untrusted, match="sent before"):
        device.orders.take(sealed(state(5), counter=1))
    with pytest.raises(Conflict, match="holds 5"):
        device.orders.take(sealed(state(4), counter=2))
    assert device.orders.take(sealed(state(5), counter=3))
    assert device.orders.current() == state(5)


@pytest.mark.parametrize(("generation", "counter"), [(2**63, 1), (5, 2**63)])
def test_numbers_that_cannot_be_stored_are_corrupt(
    device: Device, generation: int, counter: int
) -> None:
    with pytest.raises(Corrupt, match=str(2**63)):
        device.orders.take(sealed(state(generation), counter=counter))
    assert device.orders.current() is None


def test_a_generation_named_wrongly_is_corrupt(device: Device) -> None:
    with pytest.raises(Corrupt, match="generation"):
        device.orders.take(sealed(state(5), 1, generation=6))


def test_expiry_and_future_count_once_the_clock_is_known_to_be_right(device: Device) -> None:
    now_us = device.time.wall_us()
    ahead = state(now_us // 1_000_000 + 200_000)
    assert device.orders.take(sealed(state(5), counter=1, expires_us=1))
    device.time.confirm(now_us)
    with pytest.raises(Untrusted, match="expired"):
        device.orders.take(sealed(state(6), counter=2, expires_us=1))
    with pytest.raises(Untrusted, match="future"):
        device.orders.take(sealed(ahead, counter=3))


def test_a_document_by_url_is_refused_clearly(device: Device) -> None:
    body = Desired(generation=5, digest="a" * 64, url="http://127.0.0.1/x").SerializeToString()
    message = Signed(body=body, counter=1, expires_us=2**62)
    payload = seal(message, key=KEYS.down_key, direction="down", topic=TOPIC)
    with pytest.raises(Unsupported, match="URL"):
        device.orders.take(payload)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_with_an_error_of_ours(
    device: Device, data: bytes, authentic: bool
) -> None:
    if authentic:
        message = Signed(body=data, counter=2**40, expires_us=2**62)
        data = seal(message, key=KEYS.down_key, direction="down", topic=TOPIC)
    with pytest.raises(FoglineError):
        device.orders.take(data)
    assert device.orders.current() is None


def test_a_clock_that_jumps_after_it_was_confirmed_is_no_longer_believed(device: Device) -> None:
    device.time.confirm(device.time.wall_us())
    expired_us = device.time.wall_us() - 10
    with pytest.raises(Untrusted, match="expired"):
        device.orders.take(sealed(state(5), counter=1, expires_us=expired_us))
    device.clock.jump(86_400)
    assert device.orders.take(sealed(state(5), counter=1, expires_us=expired_us))
