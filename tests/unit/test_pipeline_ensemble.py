"""A Triton ensemble becomes a pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest

from fogline.cli import main
from fogline.errors import InvalidInput, Unsupported
from fogline.pipeline import Pipeline, read_pipeline
from fogline_edge.serving.pipelines import make_pipeline
from fogline_edge.serving.pipelines.ensemble import pipeline_of_ensemble
from fogline_edge.serving.repository.config_file import parse_config
from tests.models import save_constant
from tests.pipeline_runners import session_model, surroundings
from tests.pipelines import Plain

ENSEMBLE = """
name: "both"
platform: "ensemble"
max_batch_size: 8
input [{ name: "IMAGE" data_type: TYPE_FP32 dims: [ 2 ] }]
output [
  { name: "CLASS" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "SEGMENT" data_type: TYPE_FP32 dims: [ 2 ] }
]
ensemble_scheduling {
  step [
    {
      model_name: "preprocess.v2" model_version: -1
      input_map { key: "x" value: "IMAGE" }
      output_map { key: "y" value: "clean" }
    },
    {
      model_name: "classify" model_version: 3
      input_map { key: "x" value: "clean" }
      output_map { key: "y" value: "CLASS" }
    },
    {
      model_name: "classify" model_version: 1
      input_map { key: "x" value: "clean" }
      output_map { key: "y" value: "SEGMENT" }
    }
  ]
}
"""


def converted(text: str) -> Pipeline:
    return pipeline_of_ensemble(parse_config(text.encode(), "config.pbtxt").message)


def test_steps_maps_and_versions_are_taken_over() -> None:
    pipeline = converted(ENSEMBLE)
    assert [(f.name, f.datatype, f.shape) for f in pipeline.inputs] == [("IMAGE", "FP32", (-1, 2))]
    assert {o.name: o.source for o in pipeline.outputs} == {
        "CLASS": "classify_1.y",
        "SEGMENT": "classify_2.y",
    }
    assert {key: c.model for key, c in pipeline.components.items()} == {
        "preprocess_v2": "preprocess.v2",
        "classify_3": "classify@3",
        "classify_1": "classify@1",
    }
    assert [(s.name, s.run, s.inputs) for s in pipeline.steps] == [
        ("preprocess_v2", "preprocess_v2", {"x": "inputs.IMAGE"}),
        ("classify_1", "classify_3", {"x": "preprocess_v2.y"}),
        ("classify_2", "classify_1", {"x": "preprocess_v2.y"}),
    ]


def test_what_comes_of_it_serves(tmp_path: Path) -> None:
    models = [
        session_model(save_constant(tmp_path / f"{value}.onnx", value), name, version)
        for name, version, value in (
            ("preprocess.v2", 1, 1),
            ("classify", 3, 2),
            ("classify", 1, 3),
        )
    ]
    with surroundings(*models) as around:
        runner = make_pipeline(converted(ENSEMBLE), around).runner
        found = runner.run({"IMAGE": np.zeros((1, 2), np.float32)})
    assert {name: array[0, 0] for name, array in found.items()} == {"CLASS": 2, "SEGMENT": 3}


def test_without_batching_dimensions_are_those_that_are_written() -> None:
    pipeline = converted(ENSEMBLE.replace("max_batch_size: 8", ""))
    assert pipeline.inputs[0].shape == (2,)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('key: "x" value: "IMAGE"', 'key: "x" value: "RAW"', "no step gives the tensor 'RAW'"),
        ('value: "SEGMENT"', 'value: "CLASS"', "give 'CLASS'"),
        ('key: "y" value: "clean"', 'key: "y" value: "IMAGE"', "give 'IMAGE'"),
        ('value: "SEGMENT"', 'value: "other"', "no step gives the tensor 'SEGMENT'"),
        ('name: "both"', 'name: "no/name"', "no/name"),
    ],
)
def test_an_ensemble_that_could_not_be_served_is_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        converted(ENSEMBLE.replace(old, new))
    assert words in str(error.value)


def test_what_is_more_than_steps_is_refused() -> None:
    with pytest.raises(Unsupported, match="model_namespace"):
        converted(ENSEMBLE.replace("model_version: 3", 'model_version: 3 model_namespace: "a"'))
    with pytest.raises(InvalidInput, match="no ensemble_scheduling"):
        converted('name: "m" platform: "onnxruntime_onnx"')


def test_the_command_prints_a_definition_that_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "config.pbtxt").write_text(ENSEMBLE.replace('name: "both"\n', "", 1))
    assert main(["pipeline", "convert", str(folder / "config.pbtxt")]) == 0
    printed = capsys.readouterr().out
    (folder / "pipeline.json").write_text(printed)
    assert read_pipeline(folder) == converted(ENSEMBLE)
    plain: Plain = json.loads(printed)
    assert plain["name"] == "both"
