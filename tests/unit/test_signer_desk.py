"""The signer's rules: what it seals and signs, and what not even the hub can make it do."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from fogline.clock import ManualClock
from fogline.desired import DesiredState
from fogline.errors import (
    Conflict,
    Corrupt,
    Exhausted,
    Forbidden,
    InvalidInput,
    NotFound,
    Untrusted,
)
from fogline.records import canonical_json
from fogline.topics import down
from fogline.wire.auth import unseal
from fogline.wire.fleet_pb2 import Desired, Signed
from fogline_hub.delivery import delegate_auto
from fogline_hub.signer import Approval, SealItem
from fogline_hub.signer.bounds import SignerBounds
from fogline_hub.signer.counter import RESERVE_US, Counter
from fogline_hub.signer.desk import Desk
from fogline_hub.signer.trust import open_desk
from tests.signed_hubs import SignedHub, make_hub

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW_S = int(START.timestamp())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> SignedHub:
    return make_hub(tmp_path / "hub", clock)


def item(**changes: Any) -> SealItem:
    made: dict[str, Any] = {"device": "dev1", "kind": "ack", "body": b"body", "ttl_s": 60}
    return SealItem(**(made | changes))


def opened(desk: Desk, payload: bytes, device: str = "dev1", kind: str = "ack") -> Signed:
    _, key = desk.device_keys(device)
    return unseal(Signed, payload, key=key, direction="down", topic=down(device, kind))


def desired_body(generation: int, **changes: Any) -> bytes:
    document = canonical_json(DesiredState(generation=generation))
    made: dict[str, Any] = {
        "generation": generation,
        "digest": sha256(document).hexdigest(),
        "document": document,
    }
    return Desired(**(made | changes)).SerializeToString()


def test_a_sealed_message_opens_with_the_devices_key_on_its_topic_alone(hub: SignedHub) -> None:
    (payload,) = hub.desk.seal((item(),))
    message = opened(hub.desk, payload)
    assert message.body == b"body"
    assert message.expires_us == (NOW_S + 60) * 10**6
    for device, kind in (("dev2", "ack"), ("dev1", "cmd")):
        with pytest.raises(Untrusted):
            opened(hub.desk, payload, device, kind)


def test_keys_differ_by_device_and_direction(hub: SignedHub) -> None:
    keys = [key for device in ("a", "b") for key in hub.desk.device_keys(device)]
    assert len(set(keys)) == 4
    assert hub.desk.up_key("a") == keys[0]


def test_counters_grow_over_all_topics_and_are_times(hub: SignedHub) -> None:
    payloads = hub.desk.seal((item(), item(), item(kind="cmd")))
    counters = [
        opened(hub.desk, p, kind=k).counter
        for p, k in zip(payloads, ("ack", "ack", "cmd"), strict=True)
    ]
    assert counters == [NOW_S * 10**6, NOW_S * 10**6 + 1, NOW_S * 10**6 + 2]


def test_counters_grow_across_restarts_and_a_clock_that_goes_back(tmp_path: Path) -> None:
    clock, path = ManualClock(START), tmp_path / "counter"
    last = 0
    for step in (0.5, -3600, 90, -1e6, 0):
        counter = Counter(path, clock)
        for _ in range(3):
            number = counter.next()
            assert number > last
            last = number
        clock.advance(step)


def test_a_counter_is_flushed_once_a_minute(tmp_path: Path) -> None:
    clock, path = ManualClock(START), tmp_path / "counter"
    counter = Counter(path, clock)
    counter.next()
    reserved = path.read_bytes()
    for _ in range(100):
        clock.advance(0.5)
        counter.next()
    assert path.read_bytes() == reserved
    clock.advance(RESERVE_US / 1e6)
    counter.next()
    assert path.read_bytes() != reserved


def test_a_damaged_counter_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "counter").write_bytes(b"x")
    with pytest.raises(Corrupt):
        Counter(tmp_path / "counter", ManualClock(START))


def test_a_generation_more_than_a_day_ahead_is_refused(hub: SignedHub) -> None:
    near, far = NOW_S + 86_400, NOW_S + 86_401
    hub.desk.seal((item(kind="desired", body=desired_body(near)),))
    with pytest.raises(Forbidden, match="clock"):
        hub.desk.seal((item(kind="desired", body=desired_body(far)),))


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xff",
        desired_body(NOW_S, digest="0" * 64),
        desired_body(NOW_S, document=b"{"),
        desired_body(NOW_S, document=canonical_json(DesiredState(generation=NOW_S + 1))),
    ],
)
def test_a_desired_state_that_does_not_fit_together_is_not_sealed(
    hub: SignedHub, body: bytes
) -> None:
    with pytest.raises(InvalidInput):
        hub.desk.seal((item(kind="desired", body=body),))


def test_a_batch_is_sealed_whole_or_not_at_all(hub: SignedHub) -> None:
    with pytest.raises(InvalidInput):
        hub.desk.seal((item(), item(ttl_s=0)))
    (payload,) = hub.desk.seal((item(),))
    assert opened(hub.desk, payload).counter == NOW_S * 10**6


@pytest.mark.parametrize("bad", [{"ttl_s": 8 * 86400}, {"body": b"x" * 65536}])
def test_a_message_out_of_bounds_is_not_sealed(hub: SignedHub, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        hub.desk.seal((item(**bad),))


def test_the_largest_body_fits_a_payload(hub: SignedHub) -> None:
    (payload,) = hub.desk.seal((item(body=b"x" * (65536 - 128)),))
    assert len(payload) <= 65536


def test_keys_for_enrolment_are_rate_bound(tmp_path: Path, clock: ManualClock) -> None:
    hub = make_hub(tmp_path / "hub", clock)
    desk = open_desk(hub.folder, clock, SignerBounds(enrolments_per_minute=2))
    desk.device_keys("a")
    desk.device_keys("b")
    with pytest.raises(Exhausted):
        desk.device_keys("c")
    clock.advance(61)
    desk.device_keys("c")


# ----------------------------------------------------------------- metadata


def timestamp(version: int, days: float = 1) -> bytes:
    signed = Timestamp(version=version, expires=START + timedelta(days=days))
    return Metadata(signed).to_bytes()


def test_no_role_but_the_online_ones_is_signed(hub: SignedHub) -> None:
    for role in ("root", "targets", "auto", ""):
        with pytest.raises(InvalidInput):
            hub.desk.sign_online(role, hub.repository.current_targets())
    with pytest.raises(Corrupt):
        hub.desk.sign_online("snapshot", timestamp(NOW_S + 5))


def test_versions_do_not_go_back_or_far_ahead(hub: SignedHub) -> None:
    hub.desk.sign_online("timestamp", timestamp(NOW_S + 5))
    hub.desk.sign_online("timestamp", timestamp(NOW_S + 5))
    with pytest.raises(Conflict):
        hub.desk.sign_online("timestamp", timestamp(NOW_S + 4))
    with pytest.raises(Conflict):
        hub.desk.sign_online("timestamp", timestamp(NOW_S + 5, days=2))
    with pytest.raises(InvalidInput):
        hub.desk.sign_online("timestamp", timestamp(NOW_S + 2 * 86400))


def test_online_metadata_does_not_hold_for_ever(hub: SignedHub) -> None:
    with pytest.raises(InvalidInput):
        hub.desk.sign_online("timestamp", timestamp(NOW_S + 5, days=400))
    snapshot = Snapshot(version=NOW_S + 5, expires=START + timedelta(days=400))
    with pytest.raises(InvalidInput):
        hub.desk.sign_online("snapshot", Metadata(snapshot).to_bytes())


def approval(**changes: Any) -> Approval:
    made: dict[str, Any] = {
        "model": "rain", "version": 2, "manifest": "a" * 64, "manifest_bytes": 7, "champion": 1,
        "verdict": "better", "evidence": "e" * 64, "by": "judge", "judged_at": START,
    }  # fmt: skip
    return Approval(**(made | changes))


def delegate(hub: SignedHub, name: str = "rain") -> None:
    current = hub.repository.current_targets()
    hub.repository.publish_targets(delegate_auto(current, hub.operator, name, now=hub.clock.now()))


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{}",
        canonical_json(approval()).replace(b'"better"', b'"worse"'),
        canonical_json(approval()).replace(b'"version":2', b'"version":0'),
    ],
)
def test_no_approval_no_signature(hub: SignedHub, given: bytes) -> None:
    delegate(hub)
    with pytest.raises(InvalidInput):
        hub.desk.sign_auto(given)


@pytest.mark.parametrize("age", [timedelta(days=2), timedelta(hours=-1)])
def test_an_old_or_future_approval_is_refused(hub: SignedHub, age: timedelta) -> None:
    delegate(hub)
    with pytest.raises(Forbidden, match="judge again"):
        hub.desk.sign_auto(canonical_json(approval(judged_at=START - age)))


def test_a_version_is_signed_for_one_manifest_only(hub: SignedHub) -> None:
    delegate(hub)
    hub.repository.publish_auto(canonical_json(approval()))
    with pytest.raises(Forbidden):
        hub.desk.sign_auto(canonical_json(approval(manifest="b" * 64)))


def test_retrained_versions_are_rate_bound_by_model(tmp_path: Path, clock: ManualClock) -> None:
    hub = make_hub(tmp_path / "hub", clock)
    hub.desk = open_desk(hub.folder, clock, SignerBounds(auto_per_day=2))
    hub.repository = type(hub.repository)(hub.folder / "tuf", hub.desk, clock)
    for name in ("rain", "snow"):
        delegate(hub, name)
    for version in (2, 3):
        hub.repository.publish_auto(canonical_json(approval(version=version)))
    with pytest.raises(Exhausted):
        hub.repository.publish_auto(canonical_json(approval(version=4)))
    hub.repository.publish_auto(canonical_json(approval(model="snow")))
    clock.advance(86_401)
    hub.repository.publish_auto(canonical_json(approval(version=4, judged_at=clock.now())))


def test_winding_the_published_folder_back_does_not_reset_the_rate(
    tmp_path: Path, clock: ManualClock
) -> None:
    hub = make_hub(tmp_path / "hub", clock)
    desk = open_desk(hub.folder, clock, SignerBounds(auto_per_day=2))
    delegate(hub)
    for version in (2, 2, 3, 3):
        desk.sign_auto(canonical_json(approval(version=version)))
    with pytest.raises(Exhausted):
        desk.sign_auto(canonical_json(approval(version=4)))


def test_a_version_number_that_no_path_holds_is_refused(hub: SignedHub) -> None:
    delegate(hub)
    with pytest.raises(InvalidInput):
        hub.desk.sign_auto(canonical_json(approval(version=10**9)))


def test_a_forged_delegation_on_the_disk_moves_the_signer_to_nothing(
    hub: SignedHub, tmp_path: Path
) -> None:
    """A taken-over hub process can write the published folder; the pinned root still decides."""
    other = make_hub(tmp_path / "other", hub.clock)
    delegate(other)
    for path in (other.folder / "tuf").glob("*.json"):
        (hub.folder / "tuf" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(Untrusted):
        hub.desk.sign_auto(canonical_json(approval()))


def test_keys_do_not_show(hub: SignedHub) -> None:
    desk_keys = hub.desk._keys
    assert desk_keys.down.hex() not in repr(desk_keys)
    assert repr(desk_keys.down) not in repr(desk_keys)


def test_without_keys_there_is_no_desk(hub: SignedHub) -> None:
    (hub.folder / "keys" / "down.key").chmod(0o640)
    with pytest.raises(Forbidden):
        open_desk(hub.folder, hub.clock)
    (hub.folder / "keys" / "down.key").unlink()
    with pytest.raises(NotFound):
        open_desk(hub.folder, hub.clock)
    (hub.folder / "keys").chmod(0o755)
    with pytest.raises(Forbidden):
        open_desk(hub.folder, hub.clock)
