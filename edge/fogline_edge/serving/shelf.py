"""Puts models and pipelines where requests find them, and takes them away; waits for each."""

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.bundle import MANIFEST_NAME, read_bundle
from fogline.errors import Conflict, FoglineError
from fogline.records import canonical_json
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.models import Models, Then
from fogline_edge.serving.pipeline_source import PipelineSource
from fogline_edge.serving.residency import Residency, Source
from fogline_edge.serving.served import ServedModel
from fogline_edge.serving.statistics import Statistics

if TYPE_CHECKING:
    from fogline.pipeline import Pipeline
    from fogline_edge.serving.pipelines import Bring, Brought, Surroundings

PIPELINE_NAMES = ("pipeline.toml", "pipeline.json")


def holds_pipeline(path: Path) -> bool:
    """Whether a file or folder is a pipeline's: by names, and by the manifest of a bundle.

    Raises:
        Corrupt: the bundle is not what its manifest says.
    """
    if not path.is_dir():
        return path.suffix in (".toml", ".json")
    if (path / MANIFEST_NAME).is_file():
        return read_bundle(path).manifest.variants[0].is_pipeline
    return any((path / name).is_file() for name in PIPELINE_NAMES)


class Shelf:
    """Safe to use from one thread at a time, which is none of `Residency`'s: it waits for those.

    Args:
        models: Where versions are served from.
        residency: Brings models into memory.
        loading: How model files are proved and opened.
        threads: For branches of pipelines.
        load_timeout_s: How long the components of a pipeline may take to be there, seconds.
    """

    def __init__(
        self,
        models: Models,
        residency: Residency,
        loading: Loading,
        *,
        threads: int,
        load_timeout_s: float,
    ) -> None:
        self._models = models
        self._residency = residency
        self._loading = loading
        self._threads = threads
        self._load_timeout_s = load_timeout_s
        self._statistics: Statistics | None = None
        self._around: Surroundings | None = None
        self._owners: dict[str, str] = {}
        """Who serves a model of that name: itself, or the pipeline that brings it."""

    def count_in(self, statistics: Statistics) -> None:
        """Has what models do in pipelines counted; before the first pipeline."""
        self._statistics = statistics

    def put(self, path: Path, name: str = "", version: int = 1, variant: str = "") -> None:
        """Has a model consist of this file or bundle; returns when it answers.

        Raises as `loading.source_of`, as its load, and as `claim`.
        """
        source = source_of(path, self._loading, name=name, version=version, variant=variant)
        self.put_sources(source.name, (source,))

    def put_sources(self, name: str, sources: Sequence[Source]) -> None:
        """Has a model consist of these versions. Raises what the first that fails does."""
        self.claim(name)
        waited(partial(self._residency.replace, name, sources))
        self._take_components(name)  # of the pipeline that it may have been before

    def put_pipeline(self, path: Path, name: str = "", version: int = 1) -> None:
        """Loads a pipeline and the components that lie beside it; returns when it answers.

        Where that fails, what served before goes on.

        Raises as `load_pipeline`, as the loads of its components, and as `claim`.
        """
        # Here, so that a server without pipelines does not load what runs them (3 MB).
        from fogline_edge.serving.pipelines import load_pipeline

        self._put_pipeline(partial(load_pipeline, path, name=name, version=version))

    def put_ensemble(self, pipeline: "Pipeline", name: str, version: int) -> None:
        """As `put_pipeline`, of a definition that brings no components."""
        from fogline_edge.serving.pipelines import make_pipeline

        def make(around: "Surroundings", *, bring: "Bring") -> ServedModel:
            bring(name, ())
            return make_pipeline(pipeline, around, name=name, version=version)

        self._put_pipeline(make)

    def _put_pipeline(self, make: Callable[..., ServedModel]) -> None:
        around = self._surroundings()
        former = dict(self._owners)
        wanted: set[str] = set()

        def bring(pipeline: str, parts: "Sequence[Brought]") -> None:
            self.claim(pipeline)
            wanted.update(part.name for part in parts)
            self._bring(pipeline, parts)

        try:
            served = make(around, bring=bring)
            waited(partial(self._residency.replace, served.name, (_source(served, around),)))
        except FoglineError:
            for component in wanted - former.keys():
                self._take_component(component)
            raise
        self._take_components(served.name, but=wanted)

    def take(self, name: str, *, with_components: bool) -> None:
        """Takes a model or pipeline out of memory when its last call has ended.

        A pipeline's components stay where `with_components` does not say otherwise, for the next
        time that it is loaded.

        Raises:
            NotFound: there is no such model.
        """
        waited(partial(self._residency.unload, name))
        if with_components:
            self._take_components(name)

    def claim(self, name: str, owner: str = "") -> None:
        """Says who serves a model of that name: itself, or the pipeline `owner` as its component.

        Raises:
            Conflict: another one does; a name never means two models.
        """
        owner = owner or name
        there = self._owners.setdefault(name, owner)
        if there != owner:
            raise Conflict(
                f"two models have the name {name!r}: {_whose(name, there)}, and "
                f"{_whose(name, owner)}; give one of them another name"
            )

    def _bring(self, pipeline: str, parts: "Sequence[Brought]") -> None:
        """All are proved before the first one answers, so that most faults change nothing."""
        for part in parts:
            self.claim(part.name, pipeline)
        sources: dict[str, list[Source]] = {}
        for part in parts:
            source = source_of(part.path, self._loading, name=part.name, version=part.version)
            source.prove()
            sources.setdefault(part.name, []).append(source)
        for part in parts:
            self._models.set_visible(part.name, visible=part.visible)
        for name, versions in sources.items():
            waited(partial(self._residency.replace, name, versions))

    def _take_components(self, pipeline: str, *, but: Collection[str] = ()) -> None:
        for name, owner in list(self._owners.items()):
            if owner == pipeline and name not in (pipeline, *but):
                self._take_component(name)

    def _take_component(self, name: str) -> None:
        waited(partial(self._residency.replace, name, ()))
        self._models.set_visible(name, visible=True)
        del self._owners[name]

    def close(self) -> None:
        """When no pipeline runs any more."""
        if self._around is not None:
            self._around.branches.close()

    def _surroundings(self) -> "Surroundings":
        from fogline_edge.serving.pipelines import Branches, Surroundings

        if self._around is None:
            self._around = Surroundings(
                models=self._models,
                branches=Branches(self._threads),
                watchdog=self._loading.watchdog,
                load_timeout_s=self._load_timeout_s,
                statistics=self._statistics,
            )
        return self._around


def _source(served: ServedModel, around: "Surroundings") -> PipelineSource:
    """A pipeline that was held against its components, to be opened."""
    from fogline_edge.serving.pipelines import PipelineRunner, make_again

    made = [served]
    runner = served.runner
    definition = canonical_json(runner.pipeline) if isinstance(runner, PipelineRunner) else b""
    return PipelineSource(
        served.name,
        served.version,
        (sha256(definition).digest(), served.digest),
        lambda: made.pop() if made else make_again(served, around),
    )


def _whose(name: str, owner: str) -> str:
    return "one of its own" if name == owner else f"one that the pipeline {owner!r} brings"


def waited(begin: Callable[[Then], None]) -> None:
    """Begins something and waits for its end. Raises the error that it ends with."""
    is_over = threading.Event()
    errors: list[FoglineError] = []

    def then(error: FoglineError | None) -> None:
        if error is not None:
            errors.append(error)
        is_over.set()

    begin(then)
    is_over.wait()
    if errors:
        raise errors[0]
