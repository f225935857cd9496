"""A server of its own, with no hub: what `fogline serve` runs.

It serves what a path holds: a model file, a bundle, a pipeline, or a repository of models.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fogline.addresses import Address
from fogline.bundle import MANIFEST_NAME
from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline.runtime import ModelPlan, Watchdog
from fogline.runtime.qualification import Budgets
from fogline.runtime.session import open_smallest
from fogline.runtime.spare import Spare
from fogline_edge.serving import Endpoint, Listener, Models, Server, ServingConfig
from fogline_edge.serving.loading import Loading
from fogline_edge.serving.plans import PlanStore
from fogline_edge.serving.residency import MemoryWatch, Residency
from fogline_edge.serving.shelf import Shelf, holds_pipeline

if TYPE_CHECKING:
    from fogline_edge.serving.metrics_server import MetricsServer
    from fogline_edge.serving.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is to be served."""

    path: Path
    name: str = ""
    """What clients call a single model; its own name if empty."""
    version: int = 1
    variant: str = ""
    plan: ModelPlan = field(default_factory=ModelPlan)
    plans: Path | None = None
    """Where to keep what proofs found; None: nowhere."""
    control: Literal["none", "explicit"] = "none"
    """Whether callers may load and unload models of a repository."""
    load: tuple[str, ...] = ()
    """Models that an explicit repository loads at the start; `*` for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a server says once it can answer."""

    endpoints: tuple[Endpoint, ...]
    metrics: Address | None
    models: tuple[str, ...]
    """`NAME@VERSION` of what is ready."""


class Standalone:
    """Loads, listens, and stops again in good order.

    Args:
        offer: What to serve.
        listeners: Where.
        config: The bounds.
        metrics: Where Prometheus asks, if it does.
        spare: A child for the first proof, which the caller ends.
    """

    def __init__(
        self,
        offer: Offer,
        listeners: tuple[Listener, ...],
        config: ServingConfig,
        *,
        metrics: Address | None = None,
        spare: Spare | None = None,
    ) -> None:
        self._offer = offer
        self._config = config
        self._watchdog = Watchdog()
        self._models = Models(max_models=config.residency.max_loaded)
        self._residency = Residency(self._models, config.residency)
        self._memory_watch = MemoryWatch(self._residency)
        loading = Loading(
            watchdog=self._watchdog,
            plan=offer.plan,
            spare=spare,
            plans=None if offer.plans is None else PlanStore(offer.plans),
            budgets=Budgets(memory_bytes=config.load_memory_bytes, timeout_s=config.load_timeout_s),
        )
        self._shelf = Shelf(
            self._models,
            self._residency,
            loading,
            threads=config.max_running,
            load_timeout_s=config.load_timeout_s,
        )
        self._repository = self._open_repository(loading)
        self._server = Server(listeners, self._models, config=config, repository=self._repository)
        self._shelf.count_in(self._server.statistics)
        self._metrics = None if metrics is None else self._metrics_server(metrics)

    def load(self) -> Mapping[str, FoglineError]:
        """Proves and loads what is offered; returns the models of a repository that cannot serve.

        Raises:
            FoglineError: a single model cannot be served, or there is no repository.
        """
        open_smallest().close()  # what onnxruntime takes once is no model's
        self._residency.calibrate()
        offer = self._offer
        if self._repository is not None:
            return self._repository.start(_at_start(offer))
        if holds_pipeline(offer.path):
            self._shelf.put_pipeline(offer.path, offer.name, offer.version)
        else:
            self._shelf.put(offer.path, offer.name, offer.version, offer.variant)
        return {}

    def start(self) -> Ready:
        """Listens. Raises `Conflict` where an address cannot be listened on."""
        endpoints = self._server.start()
        metrics = None if self._metrics is None else self._metrics.start()
        self._residency.calibrate()
        self._memory_watch.start()
        return Ready(
            endpoints=endpoints,
            metrics=metrics,
            models=tuple(
                f"{row.name}@{row.version}" for row in self._models.index() if row.state == "READY"
            ),
        )

    def stop(self) -> None:
        """Drains calls and ends every part, whatever the others raise; also after a fault."""
        with contextlib.ExitStack() as ends:  # runs them from the last to the first
            ends.callback(self._watchdog.close)
            ends.callback(self._shelf.close)
            ends.callback(self._residency.close)
            ends.callback(self._memory_watch.close)
            if self._repository is not None:
                ends.callback(self._repository.close)
            if self._metrics is not None:
                ends.callback(self._metrics.close)
            ends.callback(self._server.drain)

    # What is imported here is loaded where it is wanted alone: a device that serves one model has
    # no repository and no metrics.

    def _open_repository(self, loading: Loading) -> "Repository | None":
        path = self._offer.path
        if not path.exists():
            raise NotFound(f"{path}: no such file")
        if not path.is_dir() or (path / MANIFEST_NAME).is_file() or holds_pipeline(path):
            return None
        from fogline_edge.serving.repository import Repository, is_repository

        # A repository that callers fill may be empty at the start.
        if self._offer.control == "none" and not is_repository(path):
            return None
        return Repository(
            path,
            self._models,
            self._residency,
            loading,
            self._shelf,
            is_explicit=self._offer.control == "explicit",
        )

    def _metrics_server(self, address: Address) -> "MetricsServer":
        from fogline_edge.serving.scrape import metrics_server

        return metrics_server(address, self._server, self._models, self._residency)


def _at_start(offer: Offer) -> tuple[str, ...] | None:
    """Which models of a repository are loaded at the start; None for all."""
    if offer.control == "none":
        if offer.load:
            raise InvalidInput("which models to load is only said with --model-control explicit")
        return None
    if "*" in offer.load:
        if len(offer.load) > 1:
            raise InvalidInput("--load-model '*' stands alone: it means all models")
        return None
    return offer.load
