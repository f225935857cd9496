import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import bcrypt
import pytest

from fogline.clock import ManualClock
from fogline.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from fogline.identity import EnrollRequest, Identity, parse_token
from fogline.ids import random_id
from fogline_hub import audit
from fogline_hub.broker import hash_password
from fogline_hub.catalogue import Catalogue
from fogline_hub.devices import Devices, Endpoints, Enrolment, Login, Tokens
from tests.hub_rooms import catalogue, clock

__all__ = ["catalogue", "clock"]

ENDPOINTS = Endpoints(url="http://127.0.0.1:1", mqtt_host="127.0.0.1", mqtt_port=2)
ROOT = b'{"root": 1}'
ROOT_SHA = sha256(ROOT).hexdigest()


@dataclass
class Broker:
    """A broker that can be down; knows the users of its last reload."""

    read: Callable[[], Sequence[Login]]
    users: Sequence[Login] = ()
    is_down: bool = False

    def apply(self) -> None:
        if self.is_down:
            raise Unavailable("the broker is down")
        self.users = self.read()


class Keys:
    def device_keys(self, device: str) -> tuple[bytes, bytes]:
        return sha256(b"up" + device.encode()).digest(), sha256(device.encode()).digest()


class Roots:
    def root(self, digest: str = "") -> bytes:
        if digest not in ("", ROOT_SHA):
            raise NotFound("no such root")
        return ROOT


@dataclass
class Fleet:
    catalogue: Catalogue
    clock: ManualClock

    def __post_init__(self) -> None:
        self.devices = Devices(self.clock)
        self.tokens = Tokens(clock=self.clock, ids=random_id)
        self.broker = Broker(self.logins)
        self.enrolment = Enrolment(
            catalogue=self.catalogue,
            devices=self.devices,
            tokens=self.tokens,
            keys=Keys(),
            roots=Roots(),
            logins=self.broker,
            hash_password=hash_password,
            clock=self.clock,
            ids=random_id,
        )

    def logins(self) -> Sequence[Login]:
        with self.catalogue.reading() as connection:
            return self.devices.logins(connection)

    def token(self, *, uses: int = 1, life: timedelta = timedelta(hours=1)) -> str:
        with self.catalogue.transaction() as connection:
            _, secret = self.tokens.create(
                connection,
                group="roof",
                uses=uses,
                life=life,
                tuf_root=ROOT_SHA,
                actor="operator:a",
            )
        return str(secret)

    def enrol(self, token: str, key: str = "a", name: str = "station") -> Identity:
        parsed = parse_token(token)
        request = EnrollRequest(
            secret=parsed.secret,
            root_sha256=parsed.root_sha256,
            device_key=sha256(key.encode()).hexdigest(),
            name=name,
        )
        return self.enrolment.enrol(request, ENDPOINTS)


@pytest.fixture
def fleet(catalogue: Catalogue, clock: ManualClock) -> Fleet:
    return Fleet(catalogue, clock)


def test_a_token_buys_an_identity_of_its_group(fleet: Fleet) -> None:
    identity = fleet.enrol(fleet.token())
    assert (identity.group, identity.name) == ("roof", "station")
    assert identity.tuf_root == ROOT.decode()
    assert [u.device for u in fleet.broker.users] == [identity.device]
    assert bcrypt.checkpw(
        identity.mqtt_password.encode(), fleet.broker.users[0].password_hash.encode()
    )
    with fleet.catalogue.reading() as connection:
        assert fleet.devices.of_secret(connection, identity.api_secret).id == identity.device
        assert [r.action for r in audit.list(connection)] == ["token.created", "device.enrolled"]
        assert fleet.devices.groups(connection) == {"roof": 1}


def test_the_same_key_gets_the_same_identity_and_takes_no_use(fleet: Fleet) -> None:
    token = fleet.token(uses=2)
    first = fleet.enrol(token)
    fleet.clock.advance(7200)  # the token has expired since
    assert fleet.enrol(token) == first
    with fleet.catalogue.reading() as connection:
        assert [t.uses_left for t in fleet.tokens.list(connection)] == [1]


def test_a_broker_that_is_down_costs_no_second_use(fleet: Fleet) -> None:
    token = fleet.token()
    fleet.broker.is_down = True
    with pytest.raises(Unavailable):
        fleet.enrol(token)
    fleet.broker.is_down = False
    assert fleet.enrol(token).device == fleet.broker.users[0].device


def test_a_token_is_good_for_its_uses_only(fleet: Fleet) -> None:
    token = fleet.token(uses=2)
    fleet.enrol(token, "a")
    fleet.enrol(token, "b")
    with pytest.raises(Forbidden, match="used up"):
        fleet.enrol(token, "c")


def test_twenty_devices_at_once_share_five_uses(fleet: Fleet) -> None:
    token = fleet.token(uses=5)
    got: list[Identity] = []
    refused: list[Forbidden] = []

    def ask(n: int) -> None:
        try:
            got.append(fleet.enrol(token, str(n)))
        except Forbidden as e:
            refused.append(e)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (5, 15)
    assert {u.device for u in fleet.broker.users} == {i.device for i in got}


def test_one_device_that_asks_ten_times_at_once_is_one_device(fleet: Fleet) -> None:
    token = fleet.token(uses=10)
    got: list[Identity] = []
    threads = [threading.Thread(target=lambda: got.append(fleet.enrol(token))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 10
    assert len({i.device for i in got}) == 1
    with fleet.catalogue.reading() as connection:
        assert fleet.tokens.list(connection)[0].uses_left == 9


def test_expired_unknown_and_foreign_tokens_are_refused_without_a_hint(fleet: Fleet) -> None:
    token = fleet.token(life=timedelta(seconds=10))
    fleet.clock.advance(11)
    unknown = f"fl1.{'x' * 43}.{ROOT_SHA}"
    texts = set()
    for bad in (token, unknown):
        with pytest.raises(Forbidden) as refused:
            fleet.enrol(bad)
        texts.add(str(refused.value))
    assert len(texts) == 1
    with pytest.raises(Forbidden, match="another hub"):
        fleet.enrol(f"fl1.{'x' * 43}.{'0' * 64}")


def test_a_revoked_device_loses_api_broker_and_enrolment(fleet: Fleet) -> None:
    token = fleet.token(uses=2)
    identity = fleet.enrol(token)
    fleet.enrolment.revoke("station", actor="operator:a")
    assert fleet.broker.users == ()
    with pytest.raises(Forbidden, match="was revoked"):
        fleet.enrol(token)
    with (
        fleet.catalogue.reading() as connection,
        pytest.raises(Forbidden, match="unknown or revoked"),
    ):
        fleet.devices.of_secret(connection, identity.api_secret)


def test_a_name_that_two_devices_share_asks_for_an_id(fleet: Fleet) -> None:
    token = fleet.token(uses=2)
    first = fleet.enrol(token, "a", "twin")
    fleet.enrol(token, "b", "twin")
    with fleet.catalogue.reading() as connection:
        assert fleet.devices.get(connection, first.device).name == "twin"
        with pytest.raises(Conflict, match=first.device):
            fleet.devices.get(connection, "twin")
        with pytest.raises(NotFound, match="devices list"):
            fleet.devices.get(connection, "nobody")


@pytest.mark.parametrize(("uses", "hours"), [(0, 1), (100_001, 1), (1, 0), (1, 24 * 999)])
def test_tokens_out_of_bounds_are_refused(fleet: Fleet, uses: int, hours: int) -> None:
    with pytest.raises(InvalidInput):
        fleet.token(uses=uses, life=timedelta(hours=hours))


def test_no_secret_is_stored_or_shown(fleet: Fleet) -> None:
    token = fleet.token()
    identity = fleet.enrol(token)
    with fleet.catalogue.reading() as connection:
        stored = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    hidden = [identity.api_secret, identity.mqtt_password, identity.mqtt_client_id]
    hidden += [identity.up_key, identity.down_key, parse_token(token).secret]
    for secret in hidden:
        assert secret not in stored
        assert secret not in repr(identity)
