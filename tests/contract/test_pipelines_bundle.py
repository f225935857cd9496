"""A pipeline travels in a bundle: packed, read by strangers, proved, loaded on a device."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.bundle import (
    Bundle,
    BundleDraft,
    VariantDraft,
    device_files,
    draft_pipeline,
    read_bundle,
    unpack_pipeline,
    write_bundle,
)
from fogline.errors import Corrupt, InvalidInput, NotFound, Unavailable
from fogline.pipeline import Pipeline, schema_of
from fogline.runtime.prove import prove_variant
from fogline_edge.serving.pipelines import Brought, load_bundled_pipeline, load_pipeline
from tests.models import save_constant, save_identity
from tests.pipeline_runners import session_model, surroundings
from tests.pipelines import Plain, definition, output_of, pipeline_of, step_of

PLAIN = definition(
    [step_of("a", {"x": "inputs.x"}), step_of("b", {"x": "a.y"})], [output_of("y", "b.y")]
)
X = np.zeros((1, 2), np.float32)


def pack(folder: Path, pipeline: Pipeline, **changes: Any) -> Bundle:
    draft = {
        "name": pipeline.name,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "schema": schema_of(pipeline),
        "variants": (draft_pipeline(pipeline),),
    }
    write_bundle(folder, BundleDraft(**{**draft, **changes}))
    return read_bundle(folder)


def test_a_pipeline_is_packed_and_unpacked_as_it_was(tmp_path: Path) -> None:
    pipeline = pipeline_of(PLAIN)
    bundle = pack(tmp_path / "p", pipeline)
    assert unpack_pipeline(bundle) == pipeline
    assert bundle.manifest.variants[0].is_pipeline
    assert [f.path for f in device_files(bundle.manifest)] == ["variants/default/pipeline.json"]
    assert prove_variant(bundle).is_accepted


def test_a_component_with_a_path_is_not_packed(tmp_path: Path) -> None:
    plain = {**PLAIN, "components": {"a": {"model": "a", "path": "a.onnx"}, "b": {"model": "b"}}}
    with pytest.raises(InvalidInput, match=r"component 'a' has the path 'a.onnx'"):
        pack(tmp_path / "p", pipeline_of(plain))


def broken(**changes: Any) -> VariantDraft:
    """A definition that no writer of ours packs."""
    data = json.dumps({**PLAIN, **changes}).encode()
    return VariantDraft(name="default", precision="pipeline", model=data, file_name="pipeline.json")


CYCLE: list[Plain] = [step_of("a", {"x": "b.y"}), step_of("b", {"x": "a.y"})]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": CYCLE}, "no step uses it|wait for each other"),
        ({"name": "q"}, "defines q, the bundle is of p"),
        ({"outputs": [output_of("z", "b.y")]}, "not those of the manifest"),
        ({"colour": 1}, "colour"),
        (
            {"components": {"a": {"model": "a", "path": "/etc/passwd"}, "b": {"model": "b"}}},
            "has a path",
        ),
    ],
)
def test_a_definition_that_is_not_right_is_corrupt(
    tmp_path: Path, changes: Plain, words: str
) -> None:
    bundle = pack(tmp_path / "p", pipeline_of(PLAIN), variants=(broken(**changes),))
    with pytest.raises(Corrupt, match=words):
        unpack_pipeline(bundle)
    found = prove_variant(bundle)
    assert found.reason == "malformed"


def test_a_model_is_no_pipeline(tmp_path: Path) -> None:
    path = save_identity(tmp_path / "m.onnx")
    model = VariantDraft(name="default", precision="fp32", model=path)
    bundle = pack(tmp_path / "p", pipeline_of(PLAIN), variants=(model,))
    with pytest.raises(Corrupt):
        unpack_pipeline(bundle)
    assert not bundle.manifest.variants[0].is_pipeline


def test_components_of_a_bundled_pipeline_may_come_later(tmp_path: Path) -> None:
    bundle = pack(tmp_path / "p", pipeline_of(PLAIN))
    a, b = (save_constant(tmp_path / f"{n}.onnx", v) for n, v in (("a", 1), ("b", 2)))
    with surroundings(a) as around:
        served = load_bundled_pipeline(bundle, "default", around, name="p", version=4, generation=9)
        assert (served.version, served.variant, served.digest, served.generation) == (
            4,
            "default",
            bundle.digest,
            9,
        )
        with pytest.raises(Unavailable, match="pipeline p@4, step 'b': no model 'b' is active"):
            served.runner.run({"x": X})
        around.models.add(session_model(b))
        assert served.runner.run({"x": X})["y"].tolist() == [[2, 2]]


def test_a_pipeline_that_needs_what_is_not_installed_is_refused(tmp_path: Path) -> None:
    plain = {**PLAIN, "components": {"a": {"step": "no-such-step@1"}, "b": {"model": "b"}}}
    bundle = pack(tmp_path / "p", pipeline_of(plain))
    with surroundings() as around, pytest.raises(NotFound, match="no-such-step@1 is not installed"):
        load_bundled_pipeline(bundle, "", around, name="p", version=1, generation=1)


def test_a_bundle_is_loaded_from_its_folder_like_a_definition(tmp_path: Path) -> None:
    bundle = pack(tmp_path / "p", pipeline_of(PLAIN))
    paths = [save_constant(tmp_path / f"{n}.onnx", v) for n, v in (("a", 1), ("b", 2))]
    told: list[tuple[str, Sequence[Brought]]] = []
    with surroundings(*paths) as around:
        served = load_pipeline(
            tmp_path / "p", around, bring=lambda *what: told.append(what), version=2
        )
        assert told == [("p", ())]
        assert (served.name, served.version, served.digest) == ("p", 2, bundle.digest)
        assert served.runner.run({"x": X})["y"].tolist() == [[2, 2]]
