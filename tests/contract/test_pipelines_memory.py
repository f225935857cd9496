"""A pipeline on a machine that cannot hold all of its models at once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.errors import FoglineError, Unavailable
from fogline_edge.serving.models import Models
from fogline_edge.serving.pipelines import PipelineRunner, Surroundings
from fogline_edge.serving.residency import Residency, ResidencyConfig
from tests.models import save_constant
from tests.pipeline_runners import runner_of, surroundings
from tests.pipelines import Plain, definition, output_of
from tests.residents import FileSource

X = np.zeros((1, 2), np.float32)


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    """Three models, of which one fits into memory."""
    with surroundings() as made:
        config = ResidencyConfig(max_loaded=1, make_room_s=0.2)
        residency = Residency(made.models, config)
        paths = [
            save_constant(tmp_path / f"{n}.onnx", v) for n, v in zip("abc", (1, 2, 3), strict=True)
        ]
        residency.offer([FileSource(path, path.stem) for path in paths])
        yield made
        residency.close()


def chain(parts: str) -> Plain:
    """One step after the other; each letter is a model."""
    names = [f"s{i}" for i in range(len(parts))]
    steps = [
        {"name": name, "run": part, "inputs": {"x": before}}
        for name, part, before in zip(
            names, parts, ["inputs.x", *(f"{n}.y" for n in names)], strict=False
        )
    ]
    outputs = [output_of(part + name, f"{name}.y") for name, part in zip(names, parts, strict=True)]
    return definition(steps, outputs)


def loaded(models: Models) -> int:
    return len(models.list())


def test_models_take_turns_in_memory_while_a_run_goes_on(around: Surroundings) -> None:
    runner = runner_of(chain("abc"), around)
    for _ in range(3):
        found = runner.run({"x": X}, deadline_s=30)
        assert [a[0, 0] for a in found.values()] == [1, 2, 3]
        assert loaded(around.models) == 1


def test_runs_beside_each_other_take_turns_as_well(around: Surroundings) -> None:
    runners: list[PipelineRunner] = [runner_of(chain(parts), around) for parts in ("ab", "ca")]
    errors: list[FoglineError] = []

    def work(runner: PipelineRunner) -> None:
        for _ in range(10):
            try:
                runner.run({"x": X}, deadline_s=60)
            except FoglineError as e:
                errors.append(e)

    threads = [threading.Thread(target=work, args=[r]) for r in (*runners, *runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not errors
    assert loaded(around.models) == 1


def test_a_run_that_needs_two_at_once_is_told_so(around: Surroundings) -> None:
    runner = runner_of(chain("aba"), around)
    with pytest.raises((FoglineError, Unavailable), match=r"pipeline p@1, step 's1'"):
        runner.run({"x": X}, deadline_s=30)
    assert runner_of(chain("ab"), around).run({"x": X}, deadline_s=30)
