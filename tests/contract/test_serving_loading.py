"""Bundles and model files on disk become versions that serve."""

import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from msgspec import structs

from fogline.bundle import BundleDraft, VariantDraft, read_bundle, write_bundle
from fogline.client import Client
from fogline.errors import Corrupt, Exhausted, InvalidInput, NotFound, Unsupported, Untrusted
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.runtime.qualification import Budgets, Reason
from fogline.schema import Field, Schema
from fogline_edge.serving import ServedModel
from fogline_edge.serving.loading import _FAULTS, Loading, load, source_of
from tests import hostile_models, models
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


def open_(
    path: Path, name: str = "", variant: str = "", budgets: Budgets | None = None
) -> ServedModel:
    return load(
        path,
        name=name,
        version=3,
        variant=variant,
        plan=ModelPlan(),
        watchdog=Watchdog(),
        budgets=budgets,
    )


def test_a_bundle_serves_its_preferred_variant_under_its_own_schema(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    served = open_(folder)
    assert (served.name, served.version, served.variant) == ("weather", 3, "fp32")
    assert served.digest == read_bundle(folder).digest
    assert served.schema == SCHEMA
    x = {"x": np.ones((1, 2), np.float32)}
    assert served.runner.run(x)["y"].tolist() == [[1, 1]]
    other = open_(folder, "rain", "int8-dynamic")
    assert (other.name, other.variant) == ("rain", "int8-dynamic")
    assert other.runner.run(x)["y"].tolist() == [[2, 2]]
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
            "the schema's outputs are not those of the model",
        ),
        (
            Schema(inputs=(Field(name="x", datatype="FP64", shape=(-1, 2)),),
                   outputs=SCHEMA.outputs),
            r"input 'x': the schema says FP64 \[-1, 2\], the model has FP32 \[-1, 2\]",
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


def test_every_reason_to_reject_is_an_error() -> None:
    assert set(_FAULTS) == set(get_args(Reason)) - {""}


def test_a_file_that_takes_too_much_is_stopped_in_its_child(tmp_path: Path) -> None:
    bomb = hostile_models.save_folding_bomb(tmp_path / "bomb.onnx", 150_000_000)
    assert bomb.stat().st_size < 1000
    before = peak_memory_bytes()
    with pytest.raises(Exhausted, match=r"model m@3, .*bomb\.onnx: too much memory: .*loading"):
        open_(bomb, "m", budgets=Budgets(memory_bytes=400 * 2**20))
    assert peak_memory_bytes() - before < 100 * 2**20


def peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_what_the_child_finds_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(
        Unsupported, match=r"model m@3, .*: unsupported operator: .*example\.custom"
    ):
        open_(models.save_custom_domain(tmp_path / "m.onnx"), "m")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InvalidInput, match=r"model m@3, .*text\.onnx: malformed"):
        open_(tmp_path / "text.onnx", "m")


@pytest.mark.parametrize("location", ["../secret", "link", "{absolute}", "missing"])
def test_external_data_is_never_read_from_elsewhere(tmp_path: Path, location: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.zeros(4, np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    path = hostile_models.save_external(folder / "m.onnx", location.format(absolute=secret))
    with pytest.raises(InvalidInput, match=r"model m@3, .*m\.onnx: malformed"):
        open_(path, "m")


def test_external_data_beside_the_file_is_served(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    served = open_(hostile_models.save_external(tmp_path / "m.onnx", "weights"), "m")
    answer = served.runner.run({"x": np.ones((1, 4), np.float32)})
    assert answer["y"].tolist() == [[1, 2, 3, 4]]


def test_a_file_is_served_by_the_bounds_that_it_was_proved_with(tmp_path: Path) -> None:
    path = hostile_models.save_greedy(tmp_path / "m.onnx")
    own = served_schema(path)
    (x,) = own.inputs
    bounded = Schema(inputs=(structs.replace(x, minimum=0, maximum=1000),), outputs=own.outputs)
    watchdog = Watchdog()
    loading = Loading(watchdog=watchdog)
    served = source_of(path, loading, name="m", schema=bounded).open()
    assert served.schema == bounded
    served.runner.close()
    narrow = structs.replace(bounded.inputs[0], shape=(-1, 3))
    wrong = Schema(inputs=(narrow,), outputs=own.outputs)
    with pytest.raises(Corrupt, match="the schema says FP32"):
        source_of(path, loading, name="m", schema=wrong).open()
    watchdog.close()


def served_schema(path: Path) -> Schema:
    session = Session.open(path, ModelPlan())
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    session.close()
    return schema
