"""A definition on disk -> a pipeline that can serve, with the components that it brings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fogline.bundle import MANIFEST_NAME, Bundle, read_bundle, unpack_pipeline
from fogline.clock import Clock, SystemClock
from fogline.ids import check_name
from fogline.pipeline import (
    Pipeline,
    component_path,
    definition_file,
    read_pipeline,
    split_version,
)
from fogline.runtime.interrupt import Watchdog
from fogline.runtime.plan import ModelPlan
from fogline_edge.serving.models import Models, ServedModel
from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.runner import PipelineRunner
from fogline_edge.serving.served import PIPELINE

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
        path: A `.toml` or `.json` file; or a folder with `pipeline.toml` or `pipeline.json`; or
            that of a bundle.
        around: What the pipeline runs with.
        bring: Loads one component.
        name: What clients call the pipeline; the definition's own name if empty.
        version: Its number.

    Raises:
        NotFound: no such file or folder; a Python step is not installed.
        InvalidInput: the definition is wrong, or its components do not fit.
        Unavailable: a component is missing.
        Corrupt: the bundle is not what its manifest says.
        FoglineError: as `bring`.
    """
    if path.is_dir() and (path / MANIFEST_NAME).is_file():
        bundle = read_bundle(path)
        pipeline = unpack_pipeline(bundle)
        return make_pipeline(pipeline, around, name=name, version=version, digest=bundle.digest)
    file = definition_file(path)
    pipeline = read_pipeline(file)
    for key, component in pipeline.components.items():
        if component.path:
            component_name, number = split_version(component.model)
            around.models.set_visible(component_name, visible=component.visible)
            bring(component_path(file, key, component), component_name, int(number or 1))
    return make_pipeline(pipeline, around, name=name, version=version)


def load_bundled_pipeline(
    bundle: Bundle, variant: str, around: Surroundings, *, name: str, version: int, generation: int
) -> ServedModel:
    """A pipeline that the hub sent; its components may come later, or be replaced just now.

    Until all are there and fit, it answers that it is unavailable, and why.

    Raises:
        NotFound: a Python step is not installed; another version of the agent may bring it.
        InvalidInput: a Python step does not take its options.
        Corrupt: the variant is no pipeline, or not that of the manifest.
    """
    runner = _runner(unpack_pipeline(bundle, variant), around, name, version)
    return _served(
        runner, name, version, variant=variant, digest=bundle.digest, generation=generation
    )


def make_pipeline(
    pipeline: Pipeline,
    around: Surroundings,
    *,
    name: str = "",
    version: int = 1,
    digest: str = "",
) -> ServedModel:
    """A definition whose components are there -> a version that can serve; as `load_pipeline`."""
    runner = _runner(pipeline, around, name or pipeline.name, version)
    runner.check(around.load_timeout_s)
    return _served(runner, name or pipeline.name, version, digest=digest)


def _runner(pipeline: Pipeline, around: Surroundings, name: str, version: int) -> PipelineRunner:
    return PipelineRunner(
        pipeline,
        f"{check_name(name, 'model name')}@{version}",
        around.models,
        branches=around.branches,
        watchdog=around.watchdog,
        clock=around.clock,
    )


def _served(runner: PipelineRunner, name: str, version: int, **more: Any) -> ServedModel:
    return ServedModel(
        name=name,
        version=version,
        schema=runner.schema,
        runner=runner,
        plan=PLAN,
        platform=PIPELINE,
        **more,
    )
