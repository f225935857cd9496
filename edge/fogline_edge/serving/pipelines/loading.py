"""A definition on disk -> a pipeline that can serve, with the components that it brings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fogline.clock import Clock, SystemClock
from fogline.errors import InvalidInput
from fogline.ids import check_name
from fogline.pipeline import Component, Pipeline, definition_file, read_pipeline, split_version
from fogline.runtime.interrupt import Watchdog
from fogline.runtime.plan import ModelPlan
from fogline_edge.serving.models import Models, ServedModel
from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.runner import PipelineRunner

PLAN = ModelPlan(placement="pool")
"""Never on the front's loop; not stacked, because conditions by request may look at other rows."""

Bring = Callable[[Path, str, int], None]
"""Proves and loads the file or bundle at a path as NAME, VERSION, into the models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all pipelines of a process share; the owner closes `branches` and `watchdog`."""

    models: Models
    branches: Branches
    watchdog: Watchdog
    clock: Clock = field(default_factory=SystemClock)
    load_timeout_s: float = 120.0
    """How long the components of a pipeline may take to be there, seconds."""


def load_pipeline(
    path: Path, around: Surroundings, *, bring: Bring, name: str = "", version: int = 1
) -> ServedModel:
    """Reads a definition, brings the components that lie beside it, and holds all together.

    Components with a `path` are brought by `bring`, and are seen by clients only if they are
    `visible`; the others must be among the models already. The caller adds what is returned.

    Args:
        path: A `.toml` or `.json` file, or a folder with `pipeline.toml` or `pipeline.json`.
        around: What the pipeline runs with.
        bring: Loads one component.
        name: What clients call the pipeline; the definition's own name if empty.
        version: Its number.

    Raises:
        NotFound: no such file or folder; a Python step is not installed.
        InvalidInput: the definition is wrong, or its components do not fit.
        Unavailable: a component is missing.
        FoglineError: as `bring`.
    """
    file = definition_file(path)
    pipeline = read_pipeline(file)
    for key, component in pipeline.components.items():
        if component.path:
            _bring(file, key, component, around.models, bring)
    return make_pipeline(pipeline, around, name=name, version=version)


def make_pipeline(
    pipeline: Pipeline,
    around: Surroundings,
    *,
    name: str = "",
    version: int = 1,
    digest: str = "",
    generation: int = 0,
) -> ServedModel:
    """A definition whose components are there -> a version that can serve; as `load_pipeline`."""
    name = check_name(name or pipeline.name, "model name")
    runner = PipelineRunner(
        pipeline,
        f"{name}@{version}",
        around.models,
        branches=around.branches,
        watchdog=around.watchdog,
        clock=around.clock,
    )
    runner.check(around.load_timeout_s)
    return ServedModel(
        name=name,
        version=version,
        schema=runner.schema,
        runner=runner,
        plan=PLAN,
        digest=digest,
        generation=generation,
    )


def _bring(file: Path, key: str, component: Component, models: Models, bring: Bring) -> None:
    folder = file.parent.resolve()
    path = (folder / component.path).resolve()
    if Path(component.path).is_absolute() or not path.is_relative_to(folder):
        raise InvalidInput(
            f"{file}, component {key!r}: {component.path[:200]!r} leads out of {file.parent}"
        )
    name, version = split_version(component.model)
    models.set_visible(name, visible=component.visible)
    bring(path, name, int(version or 1))
