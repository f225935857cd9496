"""Bundles and model files on disk become versions that serve."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import BundleDraft, VariantDraft, read_bundle, write_bundle
from fogline.client import Client
from fogline.errors import Corrupt, InvalidInput, NotFound, Untrusted
from fogline.runtime import ModelPlan, Watchdog
from fogline.schema import Field, Schema
from fogline_edge.serving import ServedModel
from fogline_edge.serving.loading import load
from tests import models
from tests.serving import models_of, running, serve_process

SCHEMA = Schema(
    inputs=(
        Field(name="x", datatype="FP32", shape=(-1, 2), role="feature", columns=("wind", "rain")),
    ),
    outputs=(Field(name="y", datatype="FP32", shape=(-1, 2), role="score"),),
)


def write(folder: Path, schema: Schema = SCHEMA) -> Path:
    """A bundle of two variants that answer 1 and 2."""
    variants = tuple(
        VariantDraft(
            name=name,
            precision=name,
            model=models.save_constant(folder.with_name(f"{name}.onnx"), value),
        )
        for name, value in (("fp32", 1), ("int8-dynamic", 2))
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    draft = BundleDraft(name="weather", created_at=moment, schema=schema, variants=variants)
    write_bundle(folder, draft)
    return folder


def open_(path: Path, name: str = "", variant: str = "") -> ServedModel:
    return load(path, name=name, version=3, variant=variant, plan=ModelPlan(), watchdog=Watchdog())


def test_a_bundle_serves_its_preferred_variant_under_its_own_schema(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    served = open_(folder)
    assert (served.name, served.version, served.variant) == ("weather", 3, "fp32")
    assert served.digest == read_bundle(folder).digest
    assert served.schema == SCHEMA
    x = {"x": np.ones((1, 2), np.float32)}
    assert served.session.run(x)["y"].tolist() == [[1, 1]]
    other = open_(folder, "rain", "int8-dynamic")
    assert (other.name, other.variant) == ("rain", "int8-dynamic")
    assert other.session.run(x)["y"].tolist() == [[2, 2]]
    with running(models_of(served)) as address, Client(address) as client:
        (model,) = client.status().models
        assert (model.variant, model.digest) == ("fp32", served.digest)


def test_the_command_serves_a_bundle(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    with (
        serve_process(folder, "--variant", "int8-dynamic") as (_, address),
        Client(address) as client,
    ):
        assert client.predict("weather", {"x": [[0, 0]]}).outputs["y"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            Schema(inputs=SCHEMA.inputs, outputs=()),
            "the manifest's outputs are not those of the model file",
        ),
        (
            Schema(inputs=(Field(name="x", datatype="FP64", shape=(-1, 2)),),
                   outputs=SCHEMA.outputs),
            r"input 'x': the manifest says FP64 \[-1, 2\], the model file has FP32 \[-1, 2\]",
        ),
        (
            Schema(inputs=(Field(name="x", datatype="FP32", shape=(-1, 3)),),
                   outputs=SCHEMA.outputs),
            r"FP32 \[-1, 3\]",
        ),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_the_graphs_is_refused(
    tmp_path: Path, schema: Schema, words: str
) -> None:
    with pytest.raises(Corrupt, match=words):
        open_(write(tmp_path / "bundle", schema))


def test_a_schema_may_fix_what_the_graph_leaves_free(tmp_path: Path) -> None:
    fixed = Field(name="x", datatype="FP32", shape=(4, 2))
    served = open_(write(tmp_path / "bundle", Schema(inputs=(fixed,), outputs=SCHEMA.outputs)))
    assert served.schema.inputs == (fixed,)


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    with pytest.raises(NotFound, match="int4"):
        open_(folder, variant="int4")
    with pytest.raises(InvalidInput, match="model name 'a b'"):
        open_(folder, name="a b")
    bundle = read_bundle(folder)
    file = bundle.path(bundle.manifest.variants[0].file)
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    with pytest.raises(Untrusted, match="SHA-256"):
        open_(folder)
