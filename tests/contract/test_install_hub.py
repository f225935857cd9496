"""A device and the hub's real API: enrol, push, fetch, prove, serve, and be revoked."""

import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import BundleDraft, GoldenCase, VariantDraft, read_bundle, write_bundle
from fogline.clock import SystemClock
from fogline.desired import DesiredModel, target_path
from fogline.errors import Forbidden
from fogline.identity import Identity
from fogline.schema import Field, Schema
from fogline_edge.install import InstallConfig, Installed, Installer, Phase
from fogline_edge.install.enroll import enroll
from fogline_edge.install.fetch.messages import FetchBounds
from fogline_hub.api.devices import MadeToken, NewToken
from fogline_hub.cli.pushing import push_bundle
from tests.hub_api import HubApi, hub_api
from tests.models import save_constant

__all__ = ["hub_api"]

CONFIG = InstallConfig(fetch=FetchBounds(attempts=2, retry_base_s=0, retry_cap_s=0))


def token(hub_api: HubApi) -> str:
    with hub_api.client() as client:
        return client.post("/v1/tokens", NewToken(group="roof"), MadeToken).text


def push(hub_api: HubApi, folder: Path) -> DesiredModel:
    zeros = np.zeros((1, 2), np.float32)
    field = {"datatype": "FP32", "shape": (-1, 2)}
    write_bundle(
        folder,
        BundleDraft(
            name="rain",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            schema=Schema(
                inputs=(Field(name="x", **field),),  # type: ignore[arg-type]
                outputs=(Field(name="y", **field),),  # type: ignore[arg-type]
            ),
            variants=(
                VariantDraft(
                    name="fp32",
                    precision="fp32",
                    model=save_constant(folder.with_suffix(".onnx"), 3),
                ),
            ),
            golden=(GoldenCase(inputs={"x": zeros}, outputs={"y": zeros + 3}),),
            reference=os.urandom(700_000).hex()[:900_000].encode(),
        ),
    )
    bundle = read_bundle(folder)
    with hub_api.client() as client:
        pushed = push_bundle(client, hub_api.keys, "rain", bundle, clock=SystemClock())
    number = pushed.version.number
    return DesiredModel(
        name="rain", version=number, manifest=bundle.digest, target=target_path("rain", number)
    )


def agent(folder: Path, identity: Identity, served: list[Installed]) -> Installer:
    return Installer(
        folder,
        identity,
        activate=served.append,
        deactivate=lambda _: None,
        report=lambda _: None,
        clock=SystemClock(),
        config=CONFIG,
    )


def test_an_enrolled_device_installs_what_was_pushed_and_resumes(
    hub_api: HubApi, tmp_path: Path
) -> None:
    wanted = push(hub_api, tmp_path / "bundle")
    device = tmp_path / "device"
    identity = enroll(hub_api.server.url, token(hub_api), "station", device)
    reference = (tmp_path / "bundle" / "reference.json").read_bytes()
    (device / "store").mkdir(mode=0o700)
    part = device / "store" / f".part-{sha256(reference).hexdigest()}"
    part.write_bytes(reference[:500_000])
    served: list[Installed] = []
    installer = agent(device, identity, served)
    installer.boot()
    report = installer.install(wanted, 1)
    assert (report.phase, report.reason) == (Phase.ACTIVE, "")
    assert (served[0].folder / "reference.json").read_bytes() == reference
    installer.close()
    again = agent(device, identity, served)
    assert [one.version for one in again.boot()] == [1]


def test_enrolling_again_gives_the_same_device(hub_api: HubApi, tmp_path: Path) -> None:
    text, device = token(hub_api), tmp_path / "device"
    first = enroll(hub_api.server.url, text, "station", device)
    (device / "identity.json").unlink()
    assert enroll(hub_api.server.url, text, "station", device) == first
    with pytest.raises(Forbidden):
        enroll(hub_api.server.url, text, "station", tmp_path / "other")


def test_a_revoked_device_gets_nothing_more_and_serves_on(hub_api: HubApi, tmp_path: Path) -> None:
    wanted = push(hub_api, tmp_path / "bundle")
    device = tmp_path / "device"
    identity = enroll(hub_api.server.url, token(hub_api), "station", device)
    installer = agent(device, identity, [])
    installer.boot()
    assert installer.install(wanted, 1).phase is Phase.ACTIVE
    hub_api.rooms.enrolment.revoke(identity.device, actor="test")
    newer = push(hub_api, tmp_path / "bundle2")
    report = installer.install(newer, 2)
    assert report.phase is Phase.FAILED
    assert "revoked" in report.reason
