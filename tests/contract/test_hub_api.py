import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from fogline.bundle import Bundle, BundleDraft, VariantDraft, read_bundle, write_bundle
from fogline.clock import SystemClock, wait_until
from fogline.errors import Conflict, Forbidden, InvalidInput, NotFound, Untrusted
from fogline.identity import EnrollRequest, Identity, parse_token
from fogline.schema import Field, Schema
from fogline_hub.api.app import ROUTES
from fogline_hub.api.devices import MadeToken, NewToken
from fogline_hub.api.endpoint import MAX_BODY_BYTES
from fogline_hub.api.models import ModelDetails, NewAlias, NewVersion, PushedVersion
from fogline_hub.api.server import listen
from fogline_hub.api.status import Status
from fogline_hub.audit import AuditRow
from fogline_hub.cli.pushing import push_bundle
from fogline_hub.delivery import delegate_auto, sign_target
from fogline_hub.devices import Device
from fogline_hub.registry import Alias, Model, State, Version
from tests.hub_api import MAX_BLOB_BYTES, HubApi, hub_api

__all__ = ["hub_api"]

DATA = bytes(range(256)) * 100
DIGEST = sha256(DATA).hexdigest()


def make_bundle(folder: Path, content: bytes = b"model") -> Bundle:
    field = Field(name="x", datatype="FP32", shape=(-1, 2))
    draft = BundleDraft(
        name="rain",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=Schema(inputs=(field,), outputs=(field,)),
        variants=(VariantDraft(name="fp32", precision="fp32", model=content),),
    )
    write_bundle(folder, draft)
    return read_bundle(folder)


@pytest.fixture
def raw(hub_api: HubApi) -> Iterator[httpx.Client]:
    """Speaks as an operator, without the client's own checks."""
    headers = {"Authorization": f"Bearer {hub_api.token}"}
    with httpx.Client(base_url=hub_api.server.url, headers=headers) as client:
        yield client


def enrol(hub_api: HubApi, name: str = "station") -> Identity:
    with hub_api.client() as client:
        made = client.post("/v1/tokens", NewToken(group="roof"), MadeToken)
    token = parse_token(made.text)
    request = EnrollRequest(
        secret=token.secret,
        root_sha256=token.root_sha256,
        device_key=sha256(name.encode()).hexdigest(),
        name=name,
    )
    with hub_api.client("") as stranger:
        return stranger.post("/v1/enroll", request, Identity)


def push(hub_api: HubApi, bundle: Bundle, alias: str = "") -> Version:
    with hub_api.client() as client:
        return push_bundle(
            client, hub_api.keys, "rain", bundle, clock=SystemClock(), alias=alias
        ).version


# ------------------------------------------------------------------ who may


def test_only_health_and_enrolment_are_open(hub_api: HubApi) -> None:
    with httpx.Client(base_url=hub_api.server.url) as stranger:
        for route in ROUTES:
            path = route.path.format(**dict.fromkeys(route.param_convertors, "x"))
            for method in (route.methods or set()) - {"HEAD"}:
                answer = stranger.request(method, path)
                if path in ("/v1/health", "/v1/enroll"):
                    assert answer.status_code in (200, 400)
                else:
                    assert answer.status_code == 401, path
                    assert answer.json()["error"] == "forbidden"
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_unknown_token_is_refused_without_being_repeated(hub_api: HubApi) -> None:
    for token in ("flo1.wrong", "fld1.wrong", "wrong", ""):
        with hub_api.client(token) as client, pytest.raises(Forbidden) as refused:
            client.get("/v1/models", tuple[Model, ...])
        assert "wrong" not in str(refused.value)


def test_a_device_reads_blobs_and_metadata_and_nothing_else(hub_api: HubApi) -> None:
    identity = enrol(hub_api)
    with hub_api.client() as operator, hub_api.client(identity.api_secret) as device:
        hub_api.rooms.blobs.put(DIGEST, DATA)
        assert device.get_bytes(f"/blobs/{DIGEST}") == DATA
        assert json.loads(device.get_bytes("/tuf/timestamp.json"))["signed"]
        with pytest.raises(Forbidden, match="for operators"):
            device.get("/v1/devices", tuple[Device, ...])
        with pytest.raises(Forbidden, match="for operators"):
            device.post("/v1/tokens", NewToken(group="g"), MadeToken)
        operator.post(f"/v1/devices/{identity.device}/revoke", b"", Device)
        with pytest.raises(Forbidden, match="revoked"):
            device.get_bytes(f"/blobs/{DIGEST}")


def test_enrolling_twice_with_one_key_gives_one_device(hub_api: HubApi) -> None:
    first = enrol(hub_api)
    assert enrol(hub_api) == first
    assert (
        sha256(first.tuf_root.encode()).hexdigest()
        == sha256(hub_api.rooms.repository.root()).hexdigest()
    )
    with hub_api.client() as client:
        assert [d.id for d in client.get("/v1/devices", tuple[Device, ...])] == [first.device]
        assert client.get(f"/v1/devices/{first.name}", Device).group == "roof"
        assert client.get("/v1/groups", dict[str, int]) == {"roof": 1}


# ------------------------------------------------------------------ bad requests


BAD_REQUESTS: list[tuple[str, str, bytes, int, str]] = [
    ("GET", "/v1/nothing", b"", 404, "Not Found"),
    ("DELETE", "/v1/models", b"", 405, "Method Not Allowed"),
    ("GET", "/v1/models?colour=red", b"", 400, "takes no 'colour'"),
    ("GET", "/v1/audit?limit=many", b"", 400, "limit='many'"),
    ("GET", "/v1/audit?limit=100000", b"", 400, "from 1 to 1000"),
    ("GET", "/v1/models", b"{}", 400, "takes no body"),
    ("POST", "/v1/tokens", b"", 400, "/v1/tokens"),
    ("POST", "/v1/tokens", b"{", 400, "/v1/tokens"),
    ("POST", "/v1/tokens", b"\xff\xfe", 400, "/v1/tokens"),
    ("POST", "/v1/tokens", b"[" * 100_000, 400, "/v1/tokens"),
    ("POST", "/v1/tokens", b'{"group": "g", "colour": 1}', 400, "unknown field `colour`"),
    ("POST", "/v1/tokens", b'{"group": 7}', 400, "$.group"),
    ("POST", "/v1/tokens", b'{"group": "../etc"}', 400, "$.group"),
    ("POST", "/v1/tokens", b'{"group": "g", "uses": 0}', 400, "0 uses"),
    ("POST", "/v1/models/rain/versions", b'{"manifest": "zz"}', 400, "$.manifest"),
    ("POST", "/v1/models/-x/versions", b'{"manifest": "%s"}' % (b"0" * 64), 400, "model name"),
    ("POST", "/v1/models/rain/versions", b'{"manifest": "%s"}' % (b"0" * 64), 404, "no blob"),
    ("PUT", "/v1/models/rain/aliases/a", b'{"version": 1}', 404, "no model 'rain'"),
    ("GET", "/v1/models/rain", b"", 404, "models list"),
    ("GET", "/v1/models/rain/versions/1", b"", 404, "no model 'rain'"),
    ("GET", "/v1/devices/nobody", b"", 404, "no device 'nobody'"),
    ("GET", "/blobs/xyz", b"", 400, "SHA-256"),
    ("GET", f"/blobs/{'0' * 64}", b"", 404, "no blob"),
    ("GET", "/tuf/..%2f..%2fkeys%2fdown.key", b"", 404, "Not Found"),
    ("GET", "/tuf/secrets.json", b"", 404, "not the name"),
    ("POST", "/v1/targets", b"{}", 400, "TUF metadata"),
    ("POST", "/v1/enroll", b"{}", 400, "missing required field"),
]


def test_every_bad_request_is_told_what_is_wrong(raw: httpx.Client) -> None:
    for method, path, content, status, says in BAD_REQUESTS:
        answer = raw.request(method, path, content=content)
        assert answer.status_code == status, (method, path, answer.text)
        assert says in answer.json()["message"], (method, path, answer.text)
        assert set(answer.json()) == {"error", "message"}


def test_a_body_beyond_the_bound_is_413(raw: httpx.Client) -> None:
    answer = raw.post("/v1/tokens", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == "exhausted"


def test_answers_do_not_wait_for_delayed_acknowledgements() -> None:
    with listen("127.0.0.1:0") as bound:
        # What asyncio looks at before it turns Nagle's algorithm off.
        assert bound.proto == socket.IPPROTO_TCP


# ------------------------------------------------------------------ blobs


def test_a_blob_goes_in_once_and_comes_out_in_parts(raw: httpx.Client, hub_api: HubApi) -> None:
    for _ in range(2):
        stored = raw.put(f"/blobs/{DIGEST}", content=DATA)
        assert stored.json() == {"sha256": DIGEST, "size_bytes": len(DATA)}
    assert raw.head(f"/blobs/{DIGEST}").headers["content-length"] == str(len(DATA))
    part = raw.get(f"/blobs/{DIGEST}", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == DATA[100:200]
    rest = raw.get(f"/blobs/{DIGEST}", headers={"Range": f"bytes={len(DATA) - 5}-"})
    assert rest.content == DATA[-5:]
    beyond = raw.get(f"/blobs/{DIGEST}", headers={"Range": "bytes=999999-"})
    assert beyond.status_code == 416
    with hub_api.client() as client:
        stored_rows = [
            r for r in client.get("/v1/audit", tuple[AuditRow, ...]) if r.action == "blob.stored"
        ]
    assert [(r.actor, r.subject) for r in stored_rows] == [("operator:admin", DIGEST)]


def test_a_blob_of_another_digest_or_too_long_is_refused(raw: httpx.Client) -> None:
    wrong = raw.put(f"/blobs/{DIGEST}", content=b"other")
    assert wrong.status_code == 400
    assert "have digest" in wrong.json()["message"]
    long = b"x" * (MAX_BLOB_BYTES + 1)
    refused = raw.put(f"/blobs/{sha256(long).hexdigest()}", content=long)
    assert refused.status_code == 413
    assert raw.head(f"/blobs/{DIGEST}").status_code == 404


def test_an_upload_that_breaks_off_leaves_nothing(hub_api: HubApi, tmp_path: Path) -> None:
    url = httpx.URL(hub_api.server.url)
    head = f"PUT /blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hub_api.token}\r\n"
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode() + DATA[:1000])
        parts = tmp_path / "hub" / "blobs"
        assert wait_until(lambda: any(parts.glob("*/.*.part")), timeout_s=10)
    assert wait_until(lambda: not any(parts.glob("*/.*.part")), timeout_s=10)
    assert hub_api.rooms.blobs.size(DIGEST) is None
    with hub_api.client() as client:
        assert client.get("/v1/models", tuple[Model, ...]) == ()


def test_twenty_uploads_of_one_blob_at_once_all_succeed(hub_api: HubApi, tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(DATA)

    def upload(_: int) -> None:
        with hub_api.client() as client:
            client.put_blob(DIGEST, file)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(upload, range(20)))
    assert hub_api.rooms.blobs.read(DIGEST, 10**6) == DATA


# ------------------------------------------------------------------ pushing


def test_a_pushed_bundle_is_proven_signed_and_published(hub_api: HubApi, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    version = push(hub_api, bundle, alias="champion")
    assert (version.number, version.state, version.manifest) == (1, State.PUBLISHED, bundle.digest)
    assert version.verified is False
    assert len(hub_api.proofs.folders) == 1
    assert not hub_api.proofs.folders[0].exists()
    target = hub_api.rooms.repository.target("models/rain/1/manifest.json")
    assert target is not None
    assert target.sha256 == bundle.digest
    with hub_api.client() as client:
        assert client.get("/v1/models/rain/versions/champion", Version) == version
        details = client.get("/v1/models/rain", ModelDetails)
        assert details.model.aliases == {"champion": 1}
        actions = [r.action for r in client.get("/v1/audit", tuple[AuditRow, ...])]
    assert actions[-3:] == ["version.pushed", "version.published", "alias.moved"]


def test_pushing_the_same_bundle_again_changes_nothing(hub_api: HubApi, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    first = push(hub_api, bundle)
    rows = rows_of(hub_api)
    assert push(hub_api, bundle) == first
    assert rows_of(hub_api) == rows
    assert push(hub_api, make_bundle(tmp_path / "c", b"other")).number == 2


def rows_of(hub_api: HubApi) -> int:
    with hub_api.client() as client:
        return client.get("/v1/status", Status).audit_rows


def test_ten_operators_who_push_at_once_all_get_published(hub_api: HubApi, tmp_path: Path) -> None:
    bundles = [make_bundle(tmp_path / f"b{n}", f"model {n}".encode()) for n in range(10)]
    with ThreadPoolExecutor(5) as pool:
        versions = list(pool.map(lambda b: push(hub_api, b), bundles))
    assert sorted(v.number for v in versions) == list(range(1, 11))
    assert {v.state for v in versions} == {State.PUBLISHED}


def test_a_hundred_versions_pushed_at_once_lose_nothing(hub_api: HubApi, tmp_path: Path) -> None:
    for n in range(100):
        bundle = make_bundle(tmp_path / f"b{n}", f"model {n}".encode())
        for file in [bundle.folder / "manifest.json", *map(bundle.path, paths_of(bundle))]:
            data = file.read_bytes()
            hub_api.rooms.blobs.put(sha256(data).hexdigest(), data)
    digests = [read_bundle(tmp_path / f"b{n}").digest for n in range(100)]

    def ask(digest: str) -> int:
        with hub_api.client() as client:
            body = NewVersion(manifest=digest)
            return client.post("/v1/models/rain/versions", body, PushedVersion).version.number

    with ThreadPoolExecutor(20) as pool:
        numbers = list(pool.map(ask, digests))
    assert sorted(numbers) == list(range(1, 101))
    with hub_api.client() as client:
        assert len(client.get("/v1/models/rain", ModelDetails).versions) == 100


def paths_of(bundle: Bundle) -> list[str]:
    return [entry.path for entry in bundle.manifest.files]


def test_a_variant_that_is_not_proven_gets_no_number(hub_api: HubApi, tmp_path: Path) -> None:
    hub_api.proofs.refuse = "variant fp32 was ended by SIGSEGV"
    with pytest.raises(InvalidInput, match="SIGSEGV"):
        push(hub_api, make_bundle(tmp_path / "b"))
    with hub_api.client() as client:
        assert client.get("/v1/models", tuple[Model, ...]) == ()


def test_a_manifest_whose_files_are_missing_gets_no_number(hub_api: HubApi, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    with hub_api.client() as client:
        client.put_blob(bundle.digest, bundle.folder / "manifest.json")
        with pytest.raises(NotFound, match="not there as blobs"):
            client.post(
                "/v1/models/rain/versions", NewVersion(manifest=bundle.digest), PushedVersion
            )


def test_a_blob_that_is_no_manifest_gets_no_number(hub_api: HubApi) -> None:
    hub_api.rooms.blobs.put(DIGEST, DATA)
    with hub_api.client() as client, pytest.raises(InvalidInput, match="manifest"):
        client.post("/v1/models/rain/versions", NewVersion(manifest=DIGEST), PushedVersion)


def test_metadata_for_what_was_not_pushed_is_refused(hub_api: HubApi, tmp_path: Path) -> None:
    clock = SystemClock()
    push(hub_api, make_bundle(tmp_path / "b"))
    with hub_api.client() as client:
        current = client.get_bytes("/v1/targets")
        never = sign_target(
            current, hub_api.keys, "models/rain/9/manifest.json", b"{}", now=clock.now()
        )
        with pytest.raises(NotFound, match="never pushed"):
            client.post("/v1/targets", never, tuple[Version, ...])
        forged = current.replace(b'"version":2', b'"version":3')
        assert forged != current
        with pytest.raises(Untrusted):
            client.post("/v1/targets", forged, tuple[Version, ...])
        assert client.get_bytes("/v1/targets") == current


def test_a_version_signed_for_another_manifest_is_refused(hub_api: HubApi, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    for file in [bundle.folder / "manifest.json", *map(bundle.path, paths_of(bundle))]:
        data = file.read_bytes()
        hub_api.rooms.blobs.put(sha256(data).hexdigest(), data)
    with hub_api.client() as client:
        pushed = client.post(
            "/v1/models/rain/versions", NewVersion(manifest=bundle.digest), PushedVersion
        )
        current = client.get_bytes("/v1/targets")
        other = sign_target(current, hub_api.keys, pushed.target, b"other", now=SystemClock().now())
        with pytest.raises(Conflict, match="names manifest"):
            client.post("/v1/targets", other, tuple[Version, ...])


def test_a_publication_cut_off_before_the_catalogue_is_caught_up_with(
    hub_api: HubApi, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "b")
    version = push(hub_api, bundle)
    second = make_bundle(tmp_path / "c", b"other")
    for file in [second.folder / "manifest.json", *map(second.path, paths_of(second))]:
        data = file.read_bytes()
        hub_api.rooms.blobs.put(sha256(data).hexdigest(), data)
    rooms = hub_api.rooms
    pending = rooms.intake.take("rain", second.digest, actor="operator:admin")
    manifest = (second.folder / "manifest.json").read_bytes()
    path = f"models/rain/{pending.number}/manifest.json"
    rooms.repository.publish_targets(
        sign_target(
            rooms.repository.current_targets(),
            hub_api.keys,
            path,
            manifest,
            now=SystemClock().now(),
        )
    )  # and here the hub is killed
    assert version.number == 1
    settled = rooms.publication.settle(actor="hub:api")
    assert [(v.number, v.state) for v in settled] == [(2, State.PUBLISHED)]
    assert rooms.publication.settle(actor="hub:api") == ()


def test_delegating_a_model_is_audited(hub_api: HubApi) -> None:
    with hub_api.client() as client:
        signed = delegate_auto(
            client.get_bytes("/v1/targets"), hub_api.keys, "rain", now=SystemClock().now()
        )
        assert client.post("/v1/targets", signed, tuple[Version, ...]) == ()
        assert client.get("/v1/automated", tuple[str, ...]) == ("rain",)
        newest = client.get("/v1/audit", tuple[AuditRow, ...], newest=1, limit=1)[0]
    assert (newest.action, newest.details) == ("auto.delegated", {"before": [], "after": ["rain"]})


def test_an_alias_of_a_version_that_is_not_there_is_refused(
    hub_api: HubApi, tmp_path: Path
) -> None:
    push(hub_api, make_bundle(tmp_path / "b"))
    with hub_api.client() as client:
        moved = client.put("/v1/models/rain/aliases/best", NewAlias(version=1), Alias)
        assert moved.number == 1
        with pytest.raises(NotFound, match="rain@7"):
            client.put("/v1/models/rain/aliases/best", NewAlias(version=7), Alias)
