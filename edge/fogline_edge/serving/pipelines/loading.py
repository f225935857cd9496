"""A definition on disk -> a pipeline that can serve, with the components that it brings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fogline.bundle import MANIFEST_NAME, Bundle, read_bundle, unpack_pipeline
from fogline.clock import Clock, SystemClock
from fogline.errors import Corrupt
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
from fogline_edge.serving.statistics import Statistics

PLAN = ModelPlan(placement="pool")
"""Never on the front's loop; not stacked, because conditions by request may look at other rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A version of a model that a definition brings."""

    name: str
    version: int
    path: Path
    """Of the file or bundle."""
    visible: bool
    """Whether clients are answered for it by its own name."""


Bring = Callable[[str, Sequence[Brought]], None]
"""Puts what the pipeline of this name brings into the models; told once, also of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all pipelines of a process share; the owner closes `branches` and `watchdog`."""

    models: Models
    branches: Branches
    watchdog: Watchdog
    statistics: Statistics | None = None
    """Where what models do in pipelines is counted, beside what they are asked for themselves."""
    clock: Clock = field(default_factory=SystemClock)
    load_timeout_s: float = 120.0
    """How long the components of a pipeline may take to be there, seconds."""


def load_pipeline(
    path: Path, around: Surroundings, *, bring: Bring, name: str = "", version: int = 1
) -> ServedModel:
    """Reads a definition, brings the components that lie beside it, and holds all together.

    Components with a `path` are brought by `bring`; the others must be among the models already.
    The caller adds what is returned.

    Args:
        path: A `.toml` or `.json` file; or a folder with `pipeline.toml` or `pipeline.json`; or
            that of a bundle.
        around: What the pipeline runs with.
        bring: Loads the components that lie beside it.
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
        bring(name or pipeline.name, ())
        return make_pipeline(pipeline, around, name=name, version=version, digest=bundle.digest)
    file = definition_file(path)
    pipeline = read_pipeline(file)
    bring(name or pipeline.name, _brought(file, pipeline))
    return make_pipeline(pipeline, around, name=name, version=version)


def _brought(file: Path, pipeline: Pipeline) -> Sequence[Brought]:
    """The versions that a definition brings, each once."""
    found = {}
    for key, component in pipeline.components.items():
        if component.path:
            name, number = split_version(component.model)
            found[name, int(number or 1)] = Brought(
                name=name,
                version=int(number or 1),
                path=component_path(file, key, component),
                visible=component.visible,
            )
    return tuple(found.values())


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


def make_again(served: ServedModel, around: Surroundings) -> ServedModel:
    """A pipeline that left memory; until its components are there it answers `Unavailable`."""
    runner = served.runner
    if not isinstance(runner, PipelineRunner):
        raise Corrupt(f"{served.label} is no pipeline")
    anew = _runner(runner.pipeline, around, served.name, served.version)
    return replace(served, runner=anew)


def _runner(pipeline: Pipeline, around: Surroundings, name: str, version: int) -> PipelineRunner:
    return PipelineRunner(
        pipeline,
        f"{check_name(name, 'model name')}@{version}",
        around.models,
        branches=around.branches,
        watchdog=around.watchdog,
        clock=around.clock,
        statistics=around.statistics,
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
