"""Puts models and pipelines where requests find them, and takes them away; waits for each."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.bundle import MANIFEST_NAME, read_bundle
from fogline.errors import FoglineError
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.models import Models, Then
from fogline_edge.serving.residency import Residency, Source
from fogline_edge.serving.served import drained

if TYPE_CHECKING:
    from fogline_edge.serving.pipelines import PipelineRunner, StepCounts, Surroundings

PIPELINE_NAMES = ("pipeline.toml", "pipeline.json")
_DRAIN_S = 120.0
"""Longest wait for calls of a pipeline that is taken away; no request may take as long."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A pipeline that serves, and the components that came with it."""

    name: str
    version: int
    runner: "PipelineRunner"
    components: list[str] = field(default_factory=list)


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
        self._around: Surroundings | None = None
        self._pipelines: dict[str, Shelved] = {}

    def put(self, path: Path, name: str = "", version: int = 1, variant: str = "") -> None:
        """Has a model consist of this file or bundle; returns when it answers.

        Raises as `loading.source_of`, and as its load.
        """
        source = source_of(path, self._loading, name=name, version=version, variant=variant)
        self.put_sources(source.name, (source,))

    def put_sources(self, name: str, sources: Sequence[Source]) -> None:
        """Has a model consist of these versions. Raises what the first that fails does."""
        waited(partial(self._residency.replace, name, sources))

    def put_pipeline(self, path: Path, name: str = "", version: int = 1) -> None:
        """Loads a pipeline and the components that lie beside it. Raises as `load_pipeline`."""
        # Here, so that a server without pipelines does not load what runs them (3 MB).
        from fogline_edge.serving.pipelines import PipelineRunner, load_pipeline

        components: list[str] = []

        def bring(path: Path, name: str, version: int) -> None:
            self.put(path, name, version)
            components.append(name)

        served = load_pipeline(path, self._surroundings(), bring=bring, name=name, version=version)
        _, former = self._models.put(served)
        if former is not None:
            former.when_idle(former.served.runner.close)
        if isinstance(served.runner, PipelineRunner):
            self._pipelines = {
                **self._pipelines,
                served.name: Shelved(
                    name=served.name,
                    version=version,
                    runner=served.runner,
                    components=components,
                ),
            }

    def take_pipeline(self, name: str, *, with_components: bool) -> None:
        """Takes a pipeline away, waits for its last call, and lets its components go or stay."""
        shelved = self._pipelines.get(name)
        if shelved is None:
            return
        self._pipelines = {n: p for n, p in self._pipelines.items() if n != name}
        entry = self._models.forget(name, shelved.version)
        if entry is not None:
            drained(entry, _DRAIN_S).runner.close()
        for component in shelved.components if with_components else ():
            waited(partial(self._residency.replace, component, ()))

    def steps(self) -> "Iterator[tuple[Shelved, StepCounts]]":
        """What the steps of every pipeline have done; from any thread."""
        for shelved in self._pipelines.values():
            for step in shelved.runner.steps():
                yield shelved, step

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
            )
        return self._around


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
