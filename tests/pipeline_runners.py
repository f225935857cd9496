"""Running pipelines for tests: real sessions, real entry points."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Schema
from fogline_edge.serving.models import Models, ServedModel
from fogline_edge.serving.pipelines import (
    Branches,
    Bring,
    Brought,
    PipelineRunner,
    StepCounts,
    Surroundings,
    make_pipeline,
)
from tests.pipelines import Plain, pipeline_of


def session_model(path: Path, name: str = "", version: int = 1) -> ServedModel:
    name = name or path.stem
    session = Session.open(path, ModelPlan(), label=f"model {name}@{version}")
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    return ServedModel(name=name, version=version, schema=schema, runner=session)


@contextmanager
def surroundings(*models: Path | ServedModel, threads: int = 2) -> Iterator[Surroundings]:
    """Models in memory, and what pipelines run with."""
    table = Models()
    for one in models:
        table.add(session_model(one) if isinstance(one, Path) else one)
    around = Surroundings(
        models=table, branches=Branches(threads), watchdog=Watchdog(), load_timeout_s=30.0
    )
    try:
        yield around
    finally:
        around.branches.close()
        around.watchdog.close()


def brought(models: Models) -> Bring:
    """Puts the components that a definition brings into `models`."""

    def bring(_: str, parts: Sequence[Brought]) -> None:
        for part in parts:
            models.set_visible(part.name, visible=part.visible)
            models.add(session_model(part.path, part.name, part.version))

    return bring


def runner_of(plain: Plain, around: Surroundings) -> PipelineRunner:
    runner = make_pipeline(pipeline_of(plain), around).runner
    assert isinstance(runner, PipelineRunner)
    return runner


def counts_of(runner: PipelineRunner, step: str) -> StepCounts:
    return next(c for c in runner.steps() if c.name == step)


@dataclass(frozen=True)
class StepsPackage:
    """An installed distribution whose module holds Python steps."""

    folder: Path
    module: str

    def add(self, code: str, entries: Mapping[str, str], name: str = "test-steps") -> None:
        """Writes the module and its entry points, as an installer does.

        Args:
            code: Of the module; `Field`, `np` and `InvalidInput` are imported before it.
            entries: Step name -> attribute of the module.
            name: The distribution.
        """
        head = (
            "import numpy as np\n"
            "from fogline.errors import InvalidInput\n"
            "from fogline.schema import Field\n"
        )
        (self.folder / f"{self.module}.py").write_text(head + code)
        info = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{step} = {self.module}:{attribute}" for step, attribute in entries.items()]
        (info / "entry_points.txt").write_text("[fogline.steps]\n" + "\n".join(lines) + "\n")


@contextmanager
def steps_package(folder: Path, patch: pytest.MonkeyPatch, module: str) -> Iterator[StepsPackage]:
    """A place for a module named `module`, importable and seen by `importlib.metadata`."""
    place = folder / "site"
    place.mkdir()
    patch.syspath_prepend(str(place))
    try:
        yield StepsPackage(place, module)
    finally:
        sys.modules.pop(module, None)
