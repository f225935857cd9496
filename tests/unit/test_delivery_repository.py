"""The hub's signed repository: who may publish what, and what a crash leaves."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets

from fogline.clock import ManualClock
from fogline.errors import (
    Conflict,
    Corrupt,
    Exhausted,
    FoglineError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
    Untrusted,
)
from fogline.records import canonical_json
from fogline.trust import auto_pattern, blob_url, parse_target_path
from fogline_hub.delivery import (
    DeliveryBounds,
    Repository,
    RootKeys,
    delegate_auto,
    load_operator,
    sign_target,
    withdraw_auto,
)
from fogline_hub.delivery.keyfile import create_key
from fogline_hub.delivery.published import load_published
from fogline_hub.signer import Approval, create_trust
from fogline_hub.signer.trust import open_desk
from tests.signed_hubs import SignedHub, make_hub

START = datetime(2026, 3, 1, tzinfo=UTC)
PATH = "models/rain/1/manifest.json"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> SignedHub:
    return make_hub(tmp_path / "hub", clock)


def signed(hub: SignedHub, path: str = PATH, manifest: bytes = b"{}") -> bytes:
    return sign_target(
        hub.repository.current_targets(), hub.operator, path, manifest, now=hub.clock.now()
    )


def delegated(hub: SignedHub, name: str = "rain") -> bytes:
    current = hub.repository.current_targets()
    return delegate_auto(current, hub.operator, name, now=hub.clock.now())


def forged(hub: SignedHub, change: Callable[[Targets], None]) -> bytes:
    """The current targets, changed at will and signed by the real operator."""
    targets = Metadata[Targets].from_bytes(hub.repository.current_targets())
    targets.signed.version += 1
    targets.signed.expires = hub.clock.now() + timedelta(days=30)
    change(targets.signed)
    targets.sign(hub.operator.targets)
    return targets.to_bytes()


def approval(hub: SignedHub, version: int = 2, **changes: Any) -> bytes:
    made: dict[str, Any] = {
        "model": "rain",
        "version": version,
        "manifest": "a" * 64,
        "manifest_bytes": 7,
        "champion": 1,
        "verdict": "better",
        "evidence": "e" * 64,
        "by": "judge",
        "judged_at": hub.clock.now(),
    }
    return canonical_json(Approval(**(made | changes)))


def files(hub: SignedHub) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (hub.folder / "tuf").iterdir() if p.suffix == ".json"}


def test_a_signed_manifest_is_published_with_its_digest(hub: SignedHub) -> None:
    added = hub.repository.publish_targets(signed(hub))
    assert [(t.path, t.sha256, t.length, t.role) for t in added] == [
        (PATH, sha256(b"{}").hexdigest(), 2, "targets")
    ]
    assert hub.repository.target(PATH) == added[0]
    assert hub.repository.target("models/rain/2/manifest.json") is None


def test_checking_says_the_same_and_writes_nothing(hub: SignedHub) -> None:
    proposed, before = signed(hub), files(hub)
    assert [t.path for t in hub.repository.check_targets(proposed)] == [PATH]
    assert files(hub) == before


def test_publishing_the_same_bytes_twice_adds_nothing(hub: SignedHub) -> None:
    proposed = signed(hub)
    hub.repository.publish_targets(proposed)
    before = files(hub)
    assert hub.repository.publish_targets(proposed) == ()
    assert files(hub) == before


def test_of_two_operators_at_once_the_second_signs_again(hub: SignedHub) -> None:
    first, second = signed(hub), signed(hub, "models/snow/1/manifest.json")
    hub.repository.publish_targets(first)
    with pytest.raises(Conflict, match="sign again"):
        hub.repository.publish_targets(second)


def test_a_strangers_key_publishes_nothing(hub: SignedHub, tmp_path: Path) -> None:
    targets = Metadata[Targets].from_bytes(signed(hub))
    targets.sign(create_key(tmp_path / "stranger.pem"))
    with pytest.raises(Untrusted):
        hub.repository.publish_targets(targets.to_bytes())


def test_a_changed_byte_is_found_out(hub: SignedHub) -> None:
    proposed = json.loads(signed(hub))
    proposed["signed"]["targets"][PATH]["length"] = 3
    with pytest.raises(Untrusted):
        hub.repository.publish_targets(json.dumps(proposed).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"signed":{}}', b"\xff" * 8])
def test_other_bytes_are_refused_as_corrupt(hub: SignedHub, data: bytes) -> None:
    with pytest.raises(Corrupt):
        hub.repository.publish_targets(data)


def test_metadata_of_another_role_is_refused(hub: SignedHub) -> None:
    with pytest.raises(Corrupt, match="role root"):
        hub.repository.publish_targets(hub.root)


def test_targets_longer_than_devices_read_are_refused(hub: SignedHub) -> None:
    with pytest.raises(Exhausted):
        hub.repository.publish_targets(b" " * 5_000_001)


def _removed(targets: Targets) -> None:
    del targets.targets[PATH]


def _replaced(targets: Targets) -> None:
    targets.targets[PATH] = TargetFile(9, {"sha256": "0" * 64}, PATH)


def _another_path(targets: Targets) -> None:
    targets.targets["boot.img"] = TargetFile(9, {"sha256": "0" * 64}, "boot.img")


def _another_hash(targets: Targets) -> None:
    path = "models/rain/3/manifest.json"
    targets.targets[path] = TargetFile(9, {"md5": "0" * 32}, path)


def _as_if_judged(targets: Targets) -> None:
    path = "models/rain/3/manifest.json"
    custom = {"custom": {"approval": "x", "signed_at": 1}}
    targets.targets[path] = TargetFile(9, {"sha256": "0" * 64}, path, custom)


def _too_many(targets: Targets) -> None:
    for i in range(2, 40):
        path = f"models/rain/{i}/manifest.json"
        targets.targets[path] = TargetFile(9, {"sha256": "0" * 64}, path)


def _expired(targets: Targets) -> None:
    targets.expires = START - timedelta(seconds=1)


def _endless(targets: Targets) -> None:
    targets.expires = START + timedelta(days=365 * 50)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_removed, Unsupported),
        (_replaced, Unsupported),
        (_another_path, InvalidInput),
        (_another_hash, InvalidInput),
        (_as_if_judged, InvalidInput),
        (_too_many, Exhausted),
        (_expired, InvalidInput),
        (_endless, InvalidInput),
    ],
)
def test_a_change_that_policy_does_not_know_is_refused_though_signed(
    hub: SignedHub, change: Callable[[Targets], None], error: type[FoglineError]
) -> None:
    hub.repository.publish_targets(signed(hub))
    before = files(hub)
    with pytest.raises(error):
        hub.repository.publish_targets(forged(hub, change))
    assert files(hub) == before


def test_an_operator_does_not_sign_on_top_of_what_operators_did_not_sign(hub: SignedHub) -> None:
    forged_list = json.loads(hub.repository.current_targets())
    forged_list["signed"]["targets"]["models/evil/1/manifest.json"] = {
        "length": 1,
        "hashes": {"sha256": "0" * 64},
    }
    with pytest.raises(Untrusted):
        sign_target(
            json.dumps(forged_list).encode(), hub.operator, PATH, b"{}", now=hub.clock.now()
        )


def test_a_path_is_signed_for_one_manifest_only(hub: SignedHub) -> None:
    hub.repository.publish_targets(signed(hub))
    with pytest.raises(Conflict, match="new version"):
        signed(hub, manifest=b"{1}")


@pytest.mark.parametrize(
    "path",
    ["models/rain/0/manifest.json", "models/rain/01/manifest.json", "models/../1/manifest.json",
     "/etc/passwd", "models/rain/1/manifest.json/x", "http://elsewhere/1/manifest.json", ""],
)  # fmt: skip
def test_only_paths_of_manifests_are_signed(hub: SignedHub, path: str) -> None:
    with pytest.raises(InvalidInput):
        signed(hub, path)
    with pytest.raises(InvalidInput):
        parse_target_path(path)


def test_a_blobs_url_takes_digests_only() -> None:
    assert blob_url("a" * 64) == "/blobs/" + "a" * 64
    with pytest.raises(InvalidInput):
        blob_url("../" + "a" * 61)


# ---------------------------------------------------------------------- auto


def test_auto_signs_only_what_operators_delegated(hub: SignedHub) -> None:
    with pytest.raises(Forbidden, match="delegate"):
        hub.repository.publish_auto(approval(hub))
    hub.repository.publish_targets(delegated(hub))
    assert hub.repository.auto_models() == ("rain",)
    made = hub.repository.publish_auto(approval(hub))
    assert (made.role, made.sha256, made.length) == ("auto", "a" * 64, 7)
    assert made.approval == sha256(approval(hub)).hexdigest()
    with pytest.raises(Forbidden):
        hub.repository.publish_auto(approval(hub, model="snow"))


def test_auto_cannot_overrule_an_operator(hub: SignedHub) -> None:
    hub.repository.publish_targets(signed(hub))
    hub.repository.publish_targets(delegated(hub))
    with pytest.raises(Forbidden):
        hub.repository.publish_auto(approval(hub, version=1))
    found = hub.repository.target(PATH)
    assert found is not None
    assert found.role == "targets"


def test_withdrawn_delegation_takes_its_versions_along(hub: SignedHub) -> None:
    hub.repository.publish_targets(delegated(hub))
    hub.repository.publish_auto(approval(hub))
    current = hub.repository.current_targets()
    hub.repository.publish_targets(
        withdraw_auto(current, hub.operator, "rain", now=hub.clock.now())
    )
    assert hub.repository.target("models/rain/2/manifest.json") is None
    assert hub.repository.auto_models() == ()
    with pytest.raises(NotFound):
        withdraw_auto(hub.repository.current_targets(), hub.operator, "rain", now=hub.clock.now())


def test_one_delegation_more_leaves_the_others(hub: SignedHub) -> None:
    hub.repository.publish_targets(delegated(hub))
    hub.repository.publish_auto(approval(hub))
    hub.repository.publish_targets(delegated(hub, "snow"))
    assert hub.repository.auto_models() == ("rain", "snow")
    assert hub.repository.target("models/rain/2/manifest.json") is not None


def test_delegation_to_a_key_that_the_signer_lacks_is_refused(
    hub: SignedHub, tmp_path: Path
) -> None:
    other = make_hub(tmp_path / "other", hub.clock)
    keys = load_operator(hub.folder / "operator")
    mixed = type(keys)(keys.targets, keys.root, other.operator.auto)
    current = hub.repository.current_targets()
    with pytest.raises(Untrusted):
        hub.repository.publish_targets(delegate_auto(current, mixed, "rain", now=hub.clock.now()))
    assert hub.repository.auto_models() == ()


def test_delegation_of_other_paths_is_refused(hub: SignedHub) -> None:
    def widen(targets: Targets) -> None:
        assert targets.delegations is not None
        assert targets.delegations.roles is not None
        targets.delegations.roles["auto"].paths = ["models/*/*/manifest.json", "*"]

    hub.repository.publish_targets(delegated(hub))
    with pytest.raises(InvalidInput):
        hub.repository.publish_targets(forged(hub, widen))


def test_the_pattern_of_a_model_names_that_model_alone() -> None:
    assert auto_pattern("rain") == "models/rain/*/manifest.json"
    with pytest.raises(InvalidInput):
        auto_pattern("ra*n")


# ---------------------------------------------------------- time and numbers


def test_online_metadata_is_renewed_at_half_of_its_life(hub: SignedHub, clock: ManualClock) -> None:
    assert not hub.repository.tick(clock.now())
    clock.advance(11 * 3600)
    assert not hub.repository.tick(clock.now())
    clock.advance(2 * 3600)
    assert hub.repository.tick(clock.now())
    assert not hub.repository.tick(clock.now())
    expires = load_published(hub.folder / "tuf").timestamp.signed.expires
    assert expires > clock.now() + timedelta(hours=23)


def test_auto_metadata_is_renewed_too(hub: SignedHub, clock: ManualClock) -> None:
    hub.repository.publish_targets(delegated(hub))
    clock.advance(100 * 86400)
    assert hub.repository.tick(clock.now())
    auto = load_published(hub.folder / "tuf").auto
    assert auto is not None
    assert auto.signed.expires > clock.now() + timedelta(days=179)


def test_numbers_are_unix_seconds_or_one_more(hub: SignedHub, clock: ManualClock) -> None:
    first = load_published(hub.folder / "tuf").timestamp.signed.version
    assert first == int(START.timestamp())
    hub.repository.publish_targets(signed(hub))
    assert load_published(hub.folder / "tuf").timestamp.signed.version == first + 1
    clock.advance(1000)
    hub.repository.publish_targets(signed(hub, "models/rain/2/manifest.json"))
    assert load_published(hub.folder / "tuf").snapshot.signed.version == first + 1000


def test_old_files_go_and_roots_stay(tmp_path: Path, clock: ManualClock) -> None:
    hub = make_hub(tmp_path / "hub", clock)
    bounds = DeliveryBounds(keep_versions=2)
    hub.repository = Repository(hub.folder / "tuf", hub.desk, clock, bounds)
    for version in range(1, 6):
        hub.repository.publish_targets(signed(hub, f"models/rain/{version}/manifest.json"))
    names = files(hub)
    assert sorted(n for n in names if n.endswith(".targets.json")) == [
        "5.targets.json",
        "6.targets.json",
    ]
    assert "1.root.json" in names
    assert hub.repository.target("models/rain/5/manifest.json") is not None


# ------------------------------------------------------- crash and restore


class BrokenSigner:
    """The real desk until the n-th online signature, then a signer that is gone."""

    def __init__(self, hub: SignedHub, good: int) -> None:
        self._desk = hub.desk
        self._left = good

    def sign_online(self, role: str, unsigned: bytes) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("the signer is gone")
        return self._desk.sign_online(role, unsigned)

    def sign_auto(self, approval: bytes) -> bytes:
        return self._desk.sign_auto(approval)

    def renew_auto(self) -> bytes:
        return self._desk.renew_auto()


@pytest.mark.parametrize("good", [0, 1])
def test_a_publication_cut_short_changes_nothing_and_can_be_repeated(
    hub: SignedHub, good: int
) -> None:
    proposed = signed(hub)
    broken = Repository(hub.folder / "tuf", BrokenSigner(hub, good), hub.clock)
    with pytest.raises(Unavailable):
        broken.publish_targets(proposed)
    assert hub.repository.target(PATH) is None
    assert [t.path for t in hub.repository.publish_targets(proposed)] == [PATH]
    assert hub.repository.target(PATH) is not None


def test_a_signer_with_other_keys_publishes_nothing(hub: SignedHub, tmp_path: Path) -> None:
    other = make_hub(tmp_path / "other", hub.clock)
    wrong = Repository(hub.folder / "tuf", other.desk, hub.clock)
    with pytest.raises(Untrusted):
        wrong.publish_targets(signed(hub))
    assert hub.repository.target(PATH) is None


def test_a_damaged_file_is_named(hub: SignedHub) -> None:
    (hub.folder / "tuf" / "1.targets.json").write_bytes(b"{}")
    with pytest.raises(Untrusted, match=r"1\.targets\.json"):
        hub.repository.current_targets()


# ------------------------------------------------------------------- set-up


def test_keys_are_private_and_offline_ones_apart(hub: SignedHub) -> None:
    for folder in (hub.folder / "keys", hub.folder / "operator"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    published = b"".join(files(hub).values())
    assert b"PRIVATE" not in published
    assert not (hub.folder / "keys" / "targets.pem").exists()


def test_a_hub_is_made_once(hub: SignedHub) -> None:
    with pytest.raises(Conflict):
        create_trust(hub.folder, hub.folder / "operator", hub.clock)


def test_interrupted_set_up_goes_on_with_the_same_keys(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "hub"
    create_trust(folder, folder / "operator", clock)
    key = (folder / "operator" / "targets.pem").read_bytes()
    (folder / "tuf" / "timestamp.json").unlink()
    create_trust(folder, folder / "operator", clock)
    assert (folder / "operator" / "targets.pem").read_bytes() == key
    assert load_published(folder / "tuf").targets.signed.version == 1


def test_root_can_need_two_of_three_keys(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "hub"
    create_trust(folder, folder / "operator", clock, root_keys=RootKeys(count=3, threshold=2))
    assert sorted(p.name for p in (folder / "operator").glob("root-*.pem")) == [
        "root-1.pem", "root-2.pem", "root-3.pem"
    ]  # fmt: skip
    root = load_published(folder / "tuf").root
    assert root.roles["root"].threshold == 2
    repository = Repository(folder / "tuf", open_desk(folder, clock), clock)
    assert repository.target(PATH) is None
    with pytest.raises(InvalidInput):
        RootKeys(count=1, threshold=2)


def test_root_is_found_by_the_digest_of_a_token(hub: SignedHub) -> None:
    assert hub.repository.root() == hub.root
    assert hub.repository.root(sha256(hub.root).hexdigest()) == hub.root
    with pytest.raises(NotFound):
        hub.repository.root("0" * 64)


@pytest.mark.parametrize(
    "name",
    ["", "timestamp", "x.json", "../keys/up.key", "1.root.json/..", ".lock", "1.evil.json",
     "99.root.json", "-1.root.json", "targets.json"],
)  # fmt: skip
def test_only_published_metadata_is_served(hub: SignedHub, name: str) -> None:
    with pytest.raises(NotFound):
        hub.repository.file(name)
    assert hub.repository.file("1.root.json").read_bytes() == hub.root


def test_an_open_key_is_not_used(hub: SignedHub) -> None:
    (hub.folder / "operator" / "targets.pem").chmod(0o644)
    with pytest.raises(Forbidden, match="chmod 600"):
        load_operator(hub.folder / "operator")
    (hub.folder / "operator" / "targets.pem").unlink()
    with pytest.raises(NotFound):
        load_operator(hub.folder / "operator")
