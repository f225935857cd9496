"""Repositories of models as a Triton user has them, made when a test asks for one."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from fogline.bundle import BundleDraft, VariantDraft, write_bundle
from fogline.schema import Field, Schema
from tests import models

SECRET = "opens-the-repository-of-this-test-alone"

IRIS_CONFIG = """
name: "iris"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [
  { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } },
  {
    name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ]
    label_filename: "species.txt"
  }
]
instance_group [ { kind: KIND_CPU count: 2 } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
"""

PIPELINE = """
name = "twice"

[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 2]

[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 2]
from = "second.y"

[components]
first = { model = "identity" }
own = { model = "twice-own", path = "own.onnx" }

[[steps]]
name = "first"
run = "first"
inputs = { x = "inputs.x" }

[[steps]]
name = "second"
run = "own"
inputs = { x = "first.y" }
"""


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def version_folder(root: Path, name: str, version: int = 1) -> Path:
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def add_iris(root: Path, seed: int = 0, version: int = 1) -> None:
    models.save_classifier(version_folder(root, "iris", version) / "model.onnx", seed)
    write(root / "iris" / "config.pbtxt", IRIS_CONFIG)
    write(root / "iris" / "species.txt", "setosa\nversicolor\nvirginica\n")


def add_constant(root: Path, name: str, value: float, version: int = 1) -> None:
    """A model that answers `value`, without a configuration."""
    models.save_constant(version_folder(root, name, version) / "model.onnx", value)


def add_identity(root: Path, name: str = "identity") -> None:
    models.save_identity(version_folder(root, name) / "model.onnx")


def add_weights(root: Path, name: str, width: int) -> None:
    """`y = x * w` for FP32 [-1, width]: a model of `4 * width ** 2` bytes."""
    weights = np.full((width, width), 0.01, np.float32)
    models.save_graph(
        version_folder(root, name) / "model.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.tensor("x", "FP32", (None, width))],
        [models.tensor("y", "FP32", (None, width))],
        [numpy_helper.from_array(weights, "w")],
    )


def add_broken(root: Path, name: str = "broken") -> None:
    write(version_folder(root, name) / "model.onnx", "This is no model.\n")


def add_bundle(root: Path, name: str = "weather") -> None:
    side = Field(name="x", datatype="FP32", shape=(-1, 2))
    model = models.save_constant(root.with_name("constant.onnx"), 7)
    draft = BundleDraft(
        name=name,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=Schema(inputs=(side,), outputs=(Field(name="y", datatype="FP32", shape=(-1, 2)),)),
        variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
    )
    write_bundle(root / name, draft)


def add_pipeline(root: Path) -> None:
    """A pipeline of `identity` and of a model of its own; give it `add_identity` too."""
    write(root / "twice" / "pipeline.toml", PIPELINE)
    models.save_constant(root / "twice" / "own.onnx", 3)


ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "identity" model_version: -1
      input_map { key: "x" value: "X" } output_map { key: "y" value: "same" }
    },
    {
      model_name: "two" model_version: 1
      input_map { key: "x" value: "same" } output_map { key: "y" value: "Y" }
    }
  ]
}
"""


def add_ensemble(root: Path, name: str = "both") -> None:
    """Of `identity` and version 1 of `two`, as Triton has it: with an empty version's folder."""
    version_folder(root, name)
    write(root / name / "config.pbtxt", ENSEMBLE)


def save_tokens(path: Path) -> Path:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    text = f'[[tokens]]\nname = "test"\nsha256 = "{digest}"\nrights = ["repository", "settings"]\n'
    return write(path, text, 0o600)
