"""A push to a whole hub: real children prove what is pushed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import BundleDraft, GoldenCase, VariantDraft, write_bundle
from fogline.errors import InvalidInput
from fogline.schema import Field, Schema
from fogline_hub.registry.proof import prove_bundle
from tests.hubs import RunningHub, fogline, hub, hub_folder
from tests.models import save_identity

__all__ = ["hub", "hub_folder"]


def draft(tmp_path: Path, *, datatype: str = "FP32", width: int = 2) -> BundleDraft:
    model = save_identity(tmp_path / "model.onnx")
    case = GoldenCase(
        inputs={"x": np.ones((3, width), np.float32)}, outputs={"y": np.ones((3, 2), np.float32)}
    )
    return BundleDraft(
        name="rain",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=Schema(
            inputs=(Field(name="x", datatype=datatype, shape=(-1, 2)),),
            outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),),
        ),
        variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
        golden=(case,),
    )


def test_a_good_bundle_is_proven_and_published(hub: RunningHub, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", draft(tmp_path))
    pushed = fogline("push", "rain", str(tmp_path / "bundle"), "--json", env=hub.environment())
    assert pushed.is_success, pushed.last_words()
    assert json.loads(pushed.stdout)["version"]["state"] == "published"
    bad = BundleDraft(
        name="rain",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=draft(tmp_path).schema,
        variants=(VariantDraft(name="fp32", precision="fp32", model=b"\x08\x08 no model"),),
    )
    write_bundle(tmp_path / "bad", bad)
    refused = fogline("push", "rain", str(tmp_path / "bad"), env=hub.environment())
    assert refused.code == 2
    assert "variant fp32 cannot be served" in refused.last_words()
    assert hub.status().versions == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"datatype": "FP64"}, "input 'x': the schema says FP64"), ({"width": 5}, "model.onnx")],
)
def test_a_bundle_that_does_not_fit_its_model_is_refused(
    tmp_path: Path, changed: dict[str, str], says: str
) -> None:
    manifest = write_bundle(tmp_path / "bundle", draft(tmp_path, **changed))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=says):
        prove_bundle(tmp_path / "bundle", manifest)
