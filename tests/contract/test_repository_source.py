"""Versions of a repository's models as they are proved, opened and warmed up, on real models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.errors import InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Schema
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.repository.config_file import parse_config
from fogline_edge.serving.repository.declaration import declare
from fogline_edge.serving.repository.folder import look_up
from fogline_edge.serving.repository.source import (
    DeclaredSource,
    bounded_schema,
    plan_before,
    plan_of,
)
from fogline_edge.serving.repository.warmup import warm_up
from fogline_edge.serving.served import ServedModel
from tests import models, repositories
from tests.hostile_models import save_endless_loop, save_greedy


@pytest.fixture
def loading() -> Iterator[Loading]:
    watchdog = Watchdog()
    yield Loading(watchdog=watchdog)
    watchdog.close()


def open_(root: Path, loading: Loading, name: str = "m") -> ServedModel:
    found = look_up(root, name)
    ((version, path),) = found.versions.items()
    schema = bounded_schema(found.declaration, f"model {name}")
    inner = source_of(path, loading, name=name, version=version, schema=schema)
    return DeclaredSource(inner, found).open()


def add(root: Path, config: str, save: Any = models.save_identity) -> Path:
    save(repositories.version_folder(root, "m") / "model.onnx")
    repositories.write(root / "m" / "config.pbtxt", config)
    return root


SIDES = """
input { name: "x" data_type: TYPE_FP32 dims: 2 }
output { name: "y" data_type: TYPE_FP32 dims: 2 }
"""


def test_a_declaration_bounds_what_was_measured(tmp_path: Path, loading: Loading) -> None:
    text = SIDES + (
        "max_batch_size: 8 dynamic_batching { preferred_batch_size: 4"
        " max_queue_delay_microseconds: 50 default_queue_policy { max_queue_size: 3 } }"
    )
    served = open_(add(tmp_path, text), loading)
    assert served.plan.max_stack <= 4
    assert served.plan.max_delay_us == (50 if served.plan.max_stack > 1 else 0)
    assert served.queue is not None
    assert served.queue.max_queued == 3
    assert served.runner.run({"x": np.ones((8, 2), np.float32)})["y"].shape == (8, 2)
    with pytest.raises(InvalidInput, match="model m@1: 9 rows, at most 8"):
        served.runner.run({"x": np.ones((9, 2), np.float32)})
    served.runner.close()


def test_a_model_that_is_declared_unbatched_is_never_stacked(
    tmp_path: Path, loading: Loading
) -> None:
    text = SIDES.replace("dims: 2", "dims: [ 3, 2 ]")
    served = open_(add(tmp_path, text), loading)
    assert served.plan.max_stack == 1
    assert [f.shape for f in served.schema.inputs] == [(3, 2)]
    served.runner.close()


def test_what_a_user_says_of_the_plan_is_kept() -> None:
    text = (
        "optimization { graph { level: 2 } }"
        "parameters { key: 'intra_op_thread_count' value { string_value: '3' } }"
        "parameters { key: 'enable_mem_arena' value { string_value: '1' } }"
    )
    declaration = declare(parse_config(text.encode(), "c"), "m")
    plan = plan_before(declaration, ModelPlan())
    assert (plan.threads, plan.arena, plan.optimize) == (3, True, False)
    measured = ModelPlan(placement="loop", max_stack=64, one_row_us=5.0)
    assert plan_of(declaration, measured) == measured


def test_a_change_of_the_declaration_is_another_version(tmp_path: Path, loading: Loading) -> None:
    root = add(tmp_path, "")

    def stamp() -> object:
        found = look_up(root, "m")
        inner = source_of(found.versions[1], loading, name="m", version=1)
        return DeclaredSource(inner, found).stamp

    first = stamp()
    assert stamp() == first
    repositories.write(root / "m" / "config.pbtxt", "max_batch_size: 8")
    assert stamp() != first


def test_what_does_not_agree_with_the_model_is_not_opened(tmp_path: Path, loading: Loading) -> None:
    text = SIDES.replace("dims: 2", "dims: 5") + "max_batch_size: 8"
    with pytest.raises(InvalidInput, match=r"model m@1, input 'x': declared \[-1,5\]"):
        open_(add(tmp_path, text), loading)


RANGE = """
input {{ name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: -1 }}
{}
"""
BOUNDS = """
parameters { key: "input_minimum:x" value { string_value: "0" } }
parameters { key: "input_maximum:x" value { string_value: "1000" } }
"""


def test_a_graph_that_needs_bounds_is_served_within_declared_ones(
    tmp_path: Path, loading: Loading
) -> None:
    with pytest.raises(Unsupported, match="`input_maximum:x` in the parameters of a repository"):
        open_(add(tmp_path / "without", RANGE.format(""), save_greedy), loading)
    served = open_(add(tmp_path / "with", RANGE.format(BOUNDS), save_greedy), loading)
    (x,) = served.schema.inputs
    assert (x.minimum, x.maximum) == (0, 1000)
    served.runner.close()


def test_bounds_ask_for_all_tensors(tmp_path: Path, loading: Loading) -> None:
    with pytest.raises(InvalidInput, match="all inputs and outputs of the model must be too"):
        open_(add(tmp_path, BOUNDS, save_greedy), loading)


WARMUP = """
model_warmup {{
  name: "first" batch_size: 2 count: 3
  inputs {{ key: "{name}" value: {{ data_type: {kind} dims: [ {dims} ] {content} }} }}
}}
"""


def warmed(name: str = "x", kind: str = "TYPE_FP32", dims: str = "2", content: str = "") -> str:
    return WARMUP.format(name=name, kind=kind, dims=dims, content=content or "zero_data: true")


@pytest.mark.parametrize("content", ["zero_data: true", "random_data: true"])
def test_a_version_is_warmed_up_before_it_answers(
    tmp_path: Path, loading: Loading, content: str
) -> None:
    open_(add(tmp_path, warmed(content=content)), loading).runner.close()


def test_a_warm_up_reads_its_data_from_the_models_folder(tmp_path: Path, loading: Loading) -> None:
    root = add(tmp_path, warmed(content='input_data_file: "x.raw"'))
    data = root / "m" / "warmup" / "x.raw"
    data.parent.mkdir()
    np.ones(2, np.float32).tofile(data)
    open_(root, loading).runner.close()
    np.ones(3, np.float32).tofile(data)
    with pytest.raises(InvalidInput, match=r"x\.raw: 12 bytes, the input has 8"):
        open_(root, loading)
    data.unlink()
    data.symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="no such file in the model's folder"):
        open_(root, loading)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (warmed(name="z"), "input 'z' FP32: the model has none such"),
        (warmed(kind="TYPE_FP64"), "expected FP32"),
        (warmed(dims="3"), "expected FP32"),
        (warmed(dims="1000000, 1000000"), "more than 67108864 bytes"),
        (WARMUP.replace("inputs", "# inputs").format(name="", kind="", dims="", content=""),
         "missing 'x'"),
    ],
)  # fmt: skip
def test_a_warm_up_that_does_not_fit_is_said(
    tmp_path: Path, loading: Loading, text: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=f"model_warmup 'first': .*{words}"):
        open_(add(tmp_path, text), loading)


def test_texts_are_warmed_up_as_empty_ones(tmp_path: Path, loading: Loading) -> None:
    def save(path: Path) -> Path:
        return models.save_identity(path, "BYTES")

    open_(add(tmp_path, warmed(kind="TYPE_STRING"), save), loading).runner.close()


@pytest.mark.parametrize("budget_s", [0.3, 0.0])
def test_a_warm_up_that_takes_too_long_is_ended_and_the_version_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, budget_s: float
) -> None:
    watchdog = Watchdog()
    path = save_endless_loop(tmp_path / "m.onnx")
    session = Session.open(path, ModelPlan(), label="model m@1", watchdog=watchdog)
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    served = ServedModel(name="m", version=1, schema=schema, runner=session)
    declaration = declare(parse_config(warmed().encode(), "c"), "m")
    warm_up(served, declaration.warmups, tmp_path, budget_s=budget_s)
    (record,) = [r for r in caplog.records if "warm-up ended early" in r.message]
    assert (record.done, record.of, record.s) == (0, 3, budget_s)  # type: ignore[attr-defined]
    session.close()
    watchdog.close()
