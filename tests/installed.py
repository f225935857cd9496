"""An enrolled agent's folder with one version in it, as an installer leaves it behind."""

from datetime import UTC, datetime
from pathlib import Path

from fogline.bundle import BundleDraft, VariantDraft, read_bundle, write_bundle
from fogline.durable import write_durably
from fogline.identity import Identity
from fogline.records import canonical_json
from fogline.schema import Field, Schema
from fogline_edge.install import Installed
from fogline_edge.install.identity_file import IDENTITY
from fogline_edge.install.state import Candidate, InstallState, ModelState, StateFile
from tests.models import save_identity

SCHEMA = Schema(
    inputs=(Field(name="x", datatype="FP32", shape=(-1, 2), role="feature"),),
    outputs=(Field(name="y", datatype="FP32", shape=(-1, 2), role="score"),),
)


def write_identity(folder: Path, *, mqtt_port: int = 9) -> None:
    """An enrolment with a hub that is not there."""
    identity = Identity(
        device="dev",
        name="station",
        group="stations",
        hub_url="http://127.0.0.1:9",
        api_secret="s" * 32,
        mqtt_host="127.0.0.1",
        mqtt_port=mqtt_port,
        mqtt_client_id="c" * 32,
        mqtt_username="dev",
        mqtt_password="p" * 32,
        up_key="1" * 64,
        down_key="2" * 64,
        tuf_root="{}",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / IDENTITY, canonical_json(identity))
    (folder / IDENTITY).chmod(0o600)


def hold_version(folder: Path, name: str = "rain") -> Installed:
    """Puts version 1 of a model that answers what it is asked where an agent's boot finds it."""
    model = save_identity(folder / "model.onnx", shape=(None, 2))
    building = folder / "versions" / "building"
    building.parent.mkdir(mode=0o700, exist_ok=True)
    draft = BundleDraft(
        name=name,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=SCHEMA,
        variants=(VariantDraft(name="fp32", precision="fp32", model=model.read_bytes()),),
        reference=b"{}",
    )
    manifest = write_bundle(building, draft)
    candidate = Candidate(
        version=1,
        digest=read_bundle(building).digest,
        variant="fp32",
        generation=1,
        is_confirmed=True,
    )
    held = building.rename(building.with_name(str(candidate.key)))
    state = InstallState(models=(ModelState(name=name, active=candidate),))
    StateFile(folder / "installed.json").save(state)
    return Installed(
        name=name,
        version=1,
        digest=candidate.digest,
        variant="fp32",
        generation=1,
        folder=held,
        model=held / manifest.variants[0].file,
        manifest=manifest,
    )
