"""What a device takes from a hub over real HTTP, and what it refuses from one that lies."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fogline.bundle import BundleDraft, Measured, VariantDraft, write_bundle
from fogline.clock import ManualClock
from fogline.desired import DesiredModel
from fogline.errors import InvalidInput, Unsupported
from fogline.records import canonical_json
from fogline.schema import Field, Schema
from fogline_edge.install.fetch.messages import (
    DeviceProfile,
    FetchBounds,
    Fetched,
    FetchRequest,
    Refused,
    Result,
)
from fogline_edge.install.fetch.origin import check_origin
from fogline_edge.install.fetch.work import fetch
from fogline_edge.install.fetching import run_fetch
from fogline_edge.install.records import InstallConfig
from fogline_hub.delivery import Repository, delegate_auto
from fogline_hub.signer import Approval
from tests.signed_hubs import Reply, SignedHub, make_hub, serving

MODEL = b"\x08" + bytes(range(256)) * 2000
FAST = FetchBounds(attempts=3, retry_base_s=0, retry_cap_s=0, reserve_bytes=0)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


def bundle(folder: Path, model: bytes = MODEL, name: str = "rain", **measured: int) -> Path:
    """A bundle with a large and a small variant."""
    schema = Schema(
        inputs=(Field(name="x", datatype="FP32", shape=(-1, 2)),),
        outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),),
    )
    variants = tuple(
        VariantDraft(
            name=variant,
            precision=variant,
            model=content,
            external_data={"weights.bin": b"w" * 999},
            measured=Measured(
                size_bytes=1, latency_us_p50=1, latency_us_p90=1, peak_memory_bytes=memory
            ),
        )
        for variant, content, memory in (
            ("fp32", model, measured.get("fp32", 2_000_000)),
            ("small", model[:1000], measured.get("small", 1_000_000)),
        )
    )
    write_bundle(
        folder,
        BundleDraft(
            name=name,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            schema=schema,
            variants=variants,
            reference=b"{}",
        ),
    )
    return folder


@pytest.fixture
def wanted(hub: SignedHub, tmp_path: Path) -> DesiredModel:
    return hub.push(bundle(tmp_path / "bundle"), 1)


def request(hub: SignedHub, wanted: DesiredModel, device: Path, **changes: Any) -> FetchRequest:
    identity = hub.identity()
    made = FetchRequest(
        hub_url=identity.hub_url,
        api_secret=identity.api_secret,
        tuf_root=identity.tuf_root,
        tuf_folder=str(device / "tuf"),
        store_folder=str(device / "store"),
        model=wanted.name,
        target=wanted.target,
        manifest=wanted.manifest,
        profile=DeviceProfile(memory_bytes=4_000_000),
        bounds=FAST,
    )
    return replace(made, **changes)


def refused(result: Result, fault: str, *, is_final: bool = False) -> str:
    assert isinstance(result, Refused), result
    assert (result.fault, result.is_final) == (fault, is_final), result.text
    return result.text


def stored(device: Path) -> list[str]:
    return sorted(p.name for p in (device / "store").iterdir())


def is_whole(device: Path) -> bool:
    """Every file in the store has the digest that it is named by."""
    return all(
        sha256(p.read_bytes()).hexdigest() == p.name
        for p in (device / "store").iterdir()
        if not p.name.startswith(".part-")
    )


def test_a_signed_version_is_fetched_whole(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    device = tmp_path / "device"
    result = fetch(request(hub, wanted, device))
    assert isinstance(result, Fetched)
    assert result.variant == "fp32"
    names = stored(device)
    assert wanted.manifest in names
    assert sha256(MODEL).hexdigest() in names
    assert len(names) == 4
    assert is_whole(device)
    assert sha256(MODEL[:1000]).hexdigest() not in names
    assert result.downloaded_bytes == sum(p.stat().st_size for p in (device / "store").iterdir())


def test_the_first_variant_that_fits_is_taken(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    profile = DeviceProfile(memory_bytes=1_500_000)
    result = fetch(request(hub, wanted, tmp_path / "device", profile=profile))
    assert isinstance(result, Fetched)
    assert result.variant == "small"


def test_a_version_of_which_nothing_fits_is_refused_for_good(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    profile = DeviceProfile(memory_bytes=10)
    result = fetch(request(hub, wanted, tmp_path / "device", profile=profile))
    assert "no variant" in refused(result, "Exhausted", is_final=True)


def test_what_is_here_is_not_fetched_again(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    device = tmp_path / "device"
    fetch(request(hub, wanted, device))
    hub.requests.clear()
    again = fetch(request(hub, wanted, device))
    assert isinstance(again, Fetched)
    assert again.downloaded_bytes == 0
    assert [path for path, _ in hub.requests] == ["/tuf/2.root.json", "/tuf/timestamp.json"]


def test_files_of_other_versions_are_not_fetched_again(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    held = (sha256(MODEL).hexdigest(),)
    fetch(request(hub, wanted, tmp_path / "device", held=held))
    assert held[0] not in stored(tmp_path / "device")
    assert not any(held[0] in path for path, _ in hub.requests)


def test_a_cut_connection_is_taken_up_where_it_broke(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    path = f"/blobs/{sha256(MODEL).hexdigest()}"
    cuts = [100_000, 50_000]

    def cut(body: bytes) -> Reply:
        wanted_range = hub.requests[-1][1]
        start = int(wanted_range[6:-1]) if wanted_range else 0
        rest = body[start:]
        part = rest[: cuts.pop()] if cuts else rest
        if not start:
            return Reply(body=part, promised=len(rest))
        described = f"bytes {start}-{len(body) - 1}/{len(body)}"
        headers = {"Content-Range": described}
        return Reply(status=206, body=part, headers=headers, promised=len(rest))

    hub.replies[path] = cut
    device = tmp_path / "device"
    result = fetch(request(hub, wanted, device))
    assert isinstance(result, Fetched)
    assert [r for p, r in hub.requests if p == path] == ["", "bytes=50000-", "bytes=150000-"]
    assert is_whole(device)


def test_what_came_outlives_the_fetch(hub: SignedHub, wanted: DesiredModel, tmp_path: Path) -> None:
    digest = sha256(MODEL).hexdigest()
    hub.replies[f"/blobs/{digest}"] = lambda body: (
        Reply(body=body[:200_000], promised=len(body))
        if not hub.requests[-1][1]
        else Reply(status=503)
    )
    device = tmp_path / "device"
    refused(fetch(request(hub, wanted, device)), "Unavailable")
    assert (device / "store" / f".part-{digest}").stat().st_size == 200_000
    hub.replies.clear()
    hub.requests.clear()
    assert isinstance(fetch(request(hub, wanted, device)), Fetched)
    assert (f"/blobs/{digest}", "bytes=200000-") in hub.requests
    assert is_whole(device)


def test_a_hub_without_ranges_sends_it_all_again(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    digest = sha256(MODEL).hexdigest()
    device = tmp_path / "device"
    (device / "store").mkdir(parents=True)
    (device / "store" / f".part-{digest}").write_bytes(b"junk" * 10)
    hub.replies[f"/blobs/{digest}"] = lambda body: Reply(body=body)
    assert isinstance(fetch(request(hub, wanted, device)), Fetched)
    assert is_whole(device)


def test_a_part_that_cannot_be_right_is_begun_anew(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    digest = sha256(MODEL).hexdigest()
    device = tmp_path / "device"
    (device / "store").mkdir(parents=True)
    (device / "store" / f".part-{digest}").write_bytes(b"x" * (len(MODEL) + 1))
    assert isinstance(fetch(request(hub, wanted, device)), Fetched)


# ------------------------------------------------------------------ attacks


def swapped(body: bytes) -> Reply:
    return Reply(body=b"\x09" + body[1:])


def test_a_changed_file_is_refused_and_nothing_of_it_stays(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    digest = sha256(MODEL).hexdigest()
    hub.replies[f"/blobs/{digest}"] = swapped
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")
    assert not any(digest in name for name in stored(tmp_path / "device"))
    assert is_whole(tmp_path / "device")


def test_a_changed_manifest_is_refused(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    hub.replies[f"/blobs/{wanted.manifest}"] = swapped
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")
    assert stored(tmp_path / "device") == []


def test_endless_data_is_cut_off(hub: SignedHub, wanted: DesiredModel, tmp_path: Path) -> None:
    digest = sha256(MODEL).hexdigest()
    hub.replies[f"/blobs/{digest}"] = lambda body: Reply(body=body + b"x" * 10_000_000)
    text = refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")
    assert "more than" in text
    assert not any(digest in name for name in stored(tmp_path / "device"))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_endless_metadata_is_cut_off(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path, role: str
) -> None:
    for path in (hub.folder / "tuf").glob(f"*{role}.json"):
        hub.replies[f"/tuf/{path.name}"] = lambda body: Reply(body=body + b" " * 6_000_000)
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_changed_metadata_is_refused(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path, role: str
) -> None:
    def change(body: bytes) -> Reply:
        plain = json.loads(body)
        plain["signed"]["expires"] = "2031-01-01T00:00:00Z"
        return Reply(body=json.dumps(plain).encode())

    for path in (hub.folder / "tuf").glob(f"*{role}.json"):
        hub.replies[f"/tuf/{path.name}"] = change
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")
    assert not (tmp_path / "device" / "store").exists() or stored(tmp_path / "device") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 10_000])
def test_metadata_that_is_none_is_refused(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path, body: bytes
) -> None:
    hub.replies["/tuf/timestamp.json"] = lambda _: Reply(body=body)
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")


def test_another_hubs_signatures_are_refused(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    with serving(make_hub(tmp_path / "other")) as other:
        other.push(tmp_path / "bundle", 1)
        changed = request(hub, wanted, tmp_path / "device", hub_url=other.url)
        refused(fetch(changed), "Untrusted")


def test_metadata_does_not_go_back(hub: SignedHub, wanted: DesiredModel, tmp_path: Path) -> None:
    old = {p.name: p.read_bytes() for p in (hub.folder / "tuf").glob("*.json")}
    newer = hub.push(bundle(tmp_path / "bundle2", model=MODEL[:5000]), 2)
    device = tmp_path / "device"
    assert isinstance(fetch(request(hub, newer, device)), Fetched)
    hub.replies["/tuf/timestamp.json"] = lambda _: Reply(body=old["timestamp.json"])
    refused(fetch(request(hub, wanted, device)), "Untrusted")


def test_metadata_of_two_states_does_not_mix(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    old = (hub.folder / "tuf" / "2.targets.json").read_bytes()
    newer = hub.push(bundle(tmp_path / "bundle2", model=MODEL[:5000]), 2)
    hub.replies["/tuf/3.targets.json"] = lambda _: Reply(body=old)
    refused(fetch(request(hub, newer, tmp_path / "device")), "Untrusted")


def test_a_frozen_hub_is_noticed_when_its_word_expires(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC) - timedelta(days=2))
    with serving(make_hub(tmp_path / "hub", clock)) as hub:
        wanted = hub.push(bundle(tmp_path / "bundle"), 1)
        device = tmp_path / "device"
        text = refused(fetch(request(hub, wanted, device)), "Untrusted")
        assert "expired" in text
        clock.advance(2 * 86_400)
        hub.repository.tick(clock.now())
        assert isinstance(fetch(request(hub, wanted, device)), Fetched)


def test_a_clock_in_the_past_does_not_revive_what_expired(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    later = int((datetime.now(UTC) + timedelta(days=3)).timestamp())
    changed = request(hub, wanted, tmp_path / "device", time_floor_s=later)
    assert "expired" in refused(fetch(changed), "Untrusted")


def test_desired_state_and_signature_must_name_the_same_manifest(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    changed = request(hub, wanted, tmp_path / "device", manifest="0" * 64)
    text = refused(fetch(changed), "Untrusted")
    assert wanted.manifest in text
    assert stored(tmp_path / "device") == []


def test_a_version_that_nobody_signed_is_not_fetched(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    unsigned = replace(wanted, version=9, target="models/rain/9/manifest.json")
    refused(fetch(request(hub, unsigned, tmp_path / "device")), "NotFound")


def test_a_signed_manifest_of_another_model_is_refused_for_good(
    hub: SignedHub, tmp_path: Path
) -> None:
    bundle(tmp_path / "bundle", name="snow")
    manifest = (tmp_path / "bundle" / "manifest.json").read_bytes()
    wanted = hub.sign(manifest, "rain", 1)
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Corrupt", is_final=True)


def test_a_signed_manifest_that_is_none_is_refused_for_good(hub: SignedHub, tmp_path: Path) -> None:
    wanted = hub.sign(b'{"format":"other"}', "rain", 1)
    refused(fetch(request(hub, wanted, tmp_path / "device")), "Corrupt", is_final=True)


def test_retrained_versions_count_only_where_operators_delegated(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    current = hub.repository.current_targets()
    hub.repository.publish_targets(
        delegate_auto(current, hub.operator, "rain", now=hub.clock.now())
    )
    device = tmp_path / "device"

    def retrained(version: int) -> DesiredModel:
        manifest = (hub.blobs / wanted.manifest).read_bytes()
        approval = Approval(
            model="rain", version=version, manifest=wanted.manifest,
            manifest_bytes=len(manifest), champion=1, verdict="better", evidence="e" * 64,
            by="judge", judged_at=hub.clock.now(),
        )  # fmt: skip
        target = hub.repository.publish_auto(canonical_json(approval))
        return replace(wanted, version=version, target=target.path)

    assert isinstance(fetch(request(hub, retrained(2), device)), Fetched)


def test_auto_signing_beyond_its_delegation_moves_no_device(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    """Even a signer without rules, with the real auto key, gets nothing past the delegation."""
    current = hub.repository.current_targets()
    hub.repository.publish_targets(
        delegate_auto(current, hub.operator, "snow", now=hub.clock.now())
    )
    target = "models/rain/5/manifest.json"

    class Rogue:
        def __init__(self) -> None:
            self.sign_online = hub.desk.sign_online
            self.renew_auto = hub.desk.renew_auto

        def sign_auto(self, approval: bytes) -> bytes:
            from tuf.api.metadata import Metadata, TargetFile, Targets

            auto = Metadata[Targets].from_bytes(hub.desk.renew_auto())
            auto.signed.targets[target] = TargetFile(
                (hub.blobs / wanted.manifest).stat().st_size, {"sha256": wanted.manifest}, target
            )
            auto.sign(hub.desk._keys.auto)
            return auto.to_bytes()

    rogue = Repository(hub.folder / "tuf", Rogue(), hub.clock)
    with pytest.raises(Exception, match="auto"):
        rogue.publish_auto(b"")
    evil = replace(wanted, version=5, target=target)
    refused(fetch(request(hub, evil, tmp_path / "device")), "NotFound")


# -------------------------------------------------------- origin and refusals


def test_a_redirect_is_not_followed(hub: SignedHub, wanted: DesiredModel, tmp_path: Path) -> None:
    with serving(make_hub(tmp_path / "elsewhere")) as other:
        for path in ("/tuf/timestamp.json", f"/blobs/{wanted.manifest}"):
            hub.replies[path] = lambda _: Reply(
                status=302, headers={"Location": f"{other.url}/tuf/timestamp.json"}
            )
            text = refused(fetch(request(hub, wanted, tmp_path / "device")), "Untrusted")
            assert "redirect" in text
            del hub.replies[path]
        assert other.requests == []


def test_a_revoked_device_is_told_so(hub: SignedHub, wanted: DesiredModel, tmp_path: Path) -> None:
    refused(fetch(request(hub, wanted, tmp_path / "device", api_secret="x")), "Forbidden")


def test_a_hub_that_is_gone_is_unavailable(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    changed = request(hub, wanted, tmp_path / "device", hub_url="http://127.0.0.1:9")
    refused(fetch(changed), "Unavailable")


def test_a_missing_blob_is_not_waited_for(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    (hub.blobs / sha256(MODEL).hexdigest()).unlink()
    refused(fetch(request(hub, wanted, tmp_path / "device")), "NotFound")


@pytest.mark.parametrize(
    ("bounds", "used"),
    [
        (replace(FAST, quota_bytes=100_000), 0),
        (replace(FAST, quota_bytes=len(MODEL) + 10_000), 50_000),
        (replace(FAST, reserve_bytes=2**60), 0),
    ],
)
def test_a_version_that_has_no_room_is_not_begun(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path, bounds: FetchBounds, used: int
) -> None:
    changed = request(hub, wanted, tmp_path / "device", bounds=bounds, used_bytes=used)
    refused(fetch(changed), "Exhausted")
    assert stored(tmp_path / "device") == [wanted.manifest]


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://127.0.0.1/x", "http://a@127.0.0.1",
     "http://127.0.0.1:x", "http://127.0.0.1?x"],
)  # fmt: skip
def test_what_is_no_hubs_origin_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_origin(url)


def test_plain_http_leaves_the_machine_never() -> None:
    for url in ("http://192.0.2.1:80", "http://hub.example", "http://127.0.0.1.evil.example"):
        with pytest.raises(Unsupported):
            check_origin(url)
    assert check_origin("http://localhost:80/") == "http://localhost:80"
    assert check_origin("http://[::1]:80") == "http://[::1]:80"
    assert check_origin("https://hub.example") == "https://hub.example"


# -------------------------------------------------------------------- child


def test_a_child_does_it_and_shows_no_secret(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    made = request(hub, wanted, tmp_path / "device")
    assert hub.identity().api_secret not in repr(made)
    assert isinstance(run_fetch(made, InstallConfig()), Fetched)
    gone = run_fetch(replace(made, hub_url="ftp://x"), InstallConfig())
    refused(gone, "InvalidInput")


def test_a_child_that_hangs_or_grows_is_a_refusal_that_may_pass(
    hub: SignedHub, wanted: DesiredModel, tmp_path: Path
) -> None:
    made = request(hub, wanted, tmp_path / "device")
    refused(run_fetch(made, InstallConfig(fetch_timeout_s=0.05)), "Unavailable")
    refused(run_fetch(made, InstallConfig(fetch_memory_bytes=10_000_000)), "Unavailable")


def test_the_agents_process_imports_neither_tuf_nor_httpx() -> None:
    code = (
        "import sys, fogline_edge.install; heavy = {'tuf', 'httpx', 'securesystemslib', "
        "'cryptography'}; sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_fetching_child_does_without_onnxruntime() -> None:
    code = (
        "import sys, fogline_edge.install.fetch.work; "
        "sys.exit(sorted({'onnxruntime', 'grpc'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
