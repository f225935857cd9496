"""A folder of models, served: loaded at the start, and again when a caller asks for it.

A model that cannot be loaded is listed with the reason, and the others serve. A model that is
loaded again goes on as it was where that fails. What lies in the folder is read on one thread of
the repository's own, one model after the other.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fogline.errors import Conflict, Exhausted, FoglineError, NotFound, Unavailable, internal_error
from fogline.wire.model_config_pb2 import ModelConfig
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.models import Models, Then
from fogline_edge.serving.repository.folder import Found, Kind, list_models, look_up
from fogline_edge.serving.repository.source import DeclaredSource, bounded_schema, plan_before
from fogline_edge.serving.residency import Residency, Source
from fogline_edge.serving.residency.worker import Worker
from fogline_edge.serving.shelf import Shelf, holds_pipeline, waited
from fogline_edge.serving.versions import VersionState, VersionStatus

MAX_WAITING = 64
"""Loads and unloads that callers may have waiting."""

_LOG = logging.getLogger(__name__)
_CLOSE_S = 10.0
"""How long what goes on may take to end when the server stops."""


class Repository:
    """The models of one folder; a `control.Repository`. Safe to use from any thread once started.

    Args:
        root: The folder.
        models: Where they are served from.
        residency: Brings them into memory.
        loading: How model files are proved and opened.
        shelf: Puts pipelines into the models.
        is_explicit: Whether callers may load and unload models.
    """

    def __init__(
        self,
        root: Path,
        models: Models,
        residency: Residency,
        loading: Loading,
        shelf: Shelf,
        *,
        is_explicit: bool = False,
    ) -> None:
        self._root = root
        self._models = models
        self._residency = residency
        self._loading = loading
        self._shelf = shelf
        self._is_explicit = is_explicit
        self._lock = threading.Lock()
        self._loaded: dict[str, Found] = {}
        self._faults: dict[str, str] = {}
        """By name: why a model is not there as it lies in the folder."""
        self._worker = Worker("repository")
        self._waiting = 0

    def start(self, names: Sequence[str] | None = None) -> Mapping[str, FoglineError]:
        """Loads these models, or all; returns those that could not be, and why.

        Where a budget on memory does not hold all of them, those that do not fit are proved, and
        loaded when they are asked for.

        Raises:
            NotFound: there is no such folder.
            Exhausted: it holds too many.
        """
        wanted = list_models(self._root) if names is None else list(names)
        faults: dict[str, FoglineError] = {}
        last: list[str] = []
        for name in wanted:
            self._try(name, faults, partial(self._begin, name, last))
        for name in last:  # components of pipelines may be any of the others
            self._try(name, faults, partial(self._bring, name))
        return faults

    # ------------------------------------------------------------ for callers

    def index(self) -> Sequence[VersionStatus]:
        """Every version that is known, and a row for every folder without one."""
        rows = list(self._models.index())
        there = {row.name for row in rows}
        with self._lock:
            faults = dict(self._faults)
        for name in {*list_models(self._root), *faults} - there:
            reason = faults.get(name, "not loaded")
            rows.append(VersionStatus(name=name, version=0, state="UNAVAILABLE", reason=reason))
        return sorted(rows, key=lambda row: (row.name, row.version))

    def load(self, name: str, then: Then) -> None:
        """As the folder is now. Raises `Conflict` where callers may not."""
        self._post(name, partial(self._bring, name), then)

    def unload(self, name: str, then: Then, *, with_dependents: bool) -> None:
        """Raises `Conflict` where callers may not."""
        self._post(name, partial(self._take, name, with_dependents), then)

    def declared(self, name: str) -> ModelConfig | None:
        with self._lock:
            found = self._loaded.get(name)
        return None if found is None else found.message

    def close(self) -> None:
        """Lets what goes on end; loads that wait are told that the server is stopping."""
        self._worker.close(_CLOSE_S)

    # ------------------------------------------------------ on its own thread

    def _bring(self, name: str) -> None:
        """Reads a model's folder and has the model served as it lies there."""
        found = look_up(self._root, name)
        if found.pipeline is not None:
            self._shelf.put_ensemble(found.pipeline, name, *found.versions)
        elif _is_pipeline(found):
            self._shelf.put_pipeline(found.folder, name)
        else:
            self._shelf.put_sources(name, self._sources(found))
        self._note(name, found)

    def _begin(self, name: str, pipelines: list[str]) -> None:
        """As `_bring`, at the start: leaves pipelines for later, and keeps to the budget."""
        found = look_up(self._root, name)
        if _is_pipeline(found):
            pipelines.append(name)
            return
        sources = self._sources(found)
        self._shelf.claim(name)
        self._residency.offer(sources)
        self._note(name, found)
        for source in sources:
            self._load_if_it_fits(source)

    def _load_if_it_fits(self, source: Source) -> None:
        try:
            source.prove()
        except FoglineError as e:
            self._models.note(source.name, source.version, VersionState.FAILED, str(e))
            raise
        need = source.need
        counts = self._residency.counts()
        room = counts.budget_bytes - counts.held_bytes
        if counts.budget_bytes and need is not None and need.peak_bytes > room:
            return
        waited(partial(self._residency.demand, source.name, source.version))

    def _take(self, name: str, with_dependents: bool) -> None:
        with self._lock:
            found = self._loaded.pop(name, None)
            self._faults.pop(name, None)
        if found is None:
            raise NotFound(f"model {name[:80]!r} is not loaded")
        self._shelf.take(name, with_components=with_dependents)

    def _sources(self, found: Found) -> list[Source]:
        """A source for each version that is to be served."""
        declaration = found.declaration
        loading = dataclasses.replace(
            self._loading,
            plan=plan_before(declaration, self._loading.plan),
            choose=self._loading.choose and declaration.arena is None,
        )
        schema = bounded_schema(declaration, f"model {found.name}")
        sources: list[Source] = []
        for version, path in sorted(found.versions.items()):
            inner = source_of(path, loading, name=found.name, version=version, schema=schema)
            is_model = found.kind is Kind.MODEL
            sources.append(DeclaredSource(inner, found) if is_model else inner)
        return sources

    # --------------------------------------------------------------- look-ups

    def _try(self, name: str, faults: dict[str, FoglineError], work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as e:  # one model that cannot be served must not stop the others
            faults[name] = error = _said(name, e)
            self._note(name, None, str(error))

    def _note(self, name: str, found: Found | None, fault: str = "") -> None:
        with self._lock:
            self._faults.pop(name, None)
            if fault:
                self._faults[name] = fault
            if found is not None:
                self._loaded[name] = found

    def _post(self, name: str, work: Callable[[], None], then: Then) -> None:
        if not self._is_explicit:
            raise Conflict(
                f"model {name[:80]!r} is not loaded or unloaded by callers: the server was started "
                "without --model-control explicit"
            )
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise Exhausted(f"{MAX_WAITING} loads and unloads wait already; try again later")
            self._waiting += 1
        told = partial(self._told, name, work, then)
        dropped = partial(then, Unavailable("the server is stopping"))
        if not self._worker.post(told, dropped):
            raise Unavailable("the server is stopping")

    def _told(self, name: str, work: Callable[[], None], then: Then) -> None:
        with self._lock:
            self._waiting -= 1
        error = None
        try:
            work()
        except Exception as e:  # a task boundary: who asked must be told
            error = _said(name, e)
            _LOG.warning("model not changed", extra={"model": name, "reason": str(error)})
            self._note(name, None, str(error))
        then(error)


def _said(name: str, error: Exception) -> FoglineError:
    """What callers are told; of a fault of ours only its kind, and the log has the rest."""
    if isinstance(error, FoglineError):
        return error
    _LOG.error("fault in a repository", extra={"model": name}, exc_info=error)
    return internal_error(error, f"model {name}: ")


def _is_pipeline(found: Found) -> bool:
    if found.kind is Kind.BUNDLE:
        return holds_pipeline(found.folder)
    return found.kind is Kind.PIPELINE
