"""Sources of versions that need no proof, and callbacks that can be waited for."""

import threading
from collections.abc import Callable
from pathlib import Path

from fogline.errors import FoglineError
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Schema
from fogline_edge.serving.models import Models, ServedModel
from fogline_edge.serving.residency import Need


class FileSource:
    """A source that opens a session on a file, and counts how often.

    It is proved already unless it `needs_proof`; `before_prove` and `before_open` run at that time.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        version: int = 1,
        *,
        need: Need | None = None,
        stamp: int = 0,
        needs_proof: bool = False,
    ) -> None:
        self.path = path
        self.name = name
        self.version = version
        self.stamp = stamp
        self._needed = need or Need()
        self.need: Need | None = None if needs_proof else self._needed
        self.opened = self.proved = 0
        self.before_prove: Callable[[], object] = lambda: None
        self.before_open: Callable[[], object] = lambda: None
        self.watchdog = Watchdog()

    def prove(self) -> None:
        self.before_prove()
        self.proved += 1
        self.need = self._needed

    def open(self) -> ServedModel:
        self.before_open()
        self.opened += 1
        label = f"model {self.name}@{self.version}"
        session = Session.open(self.path, ModelPlan(), label=label, watchdog=self.watchdog)
        schema = Schema(inputs=session.inputs, outputs=session.outputs)
        return ServedModel(name=self.name, version=self.version, schema=schema, runner=session)


class Answer:
    """A `then` that can be waited for."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self.error: FoglineError | None = None

    def __call__(self, error: FoglineError | None) -> None:
        self.error = error
        self._told.set()

    def wait(self, timeout_s: float = 30.0) -> FoglineError | None:
        assert self._told.wait(timeout_s), "never told"
        return self.error


def demanded(models: Models, name: str, version: str = "") -> FoglineError | None:
    """Demands a version and waits; what came of it."""
    answer = Answer()
    models.demand(name, version, answer)
    return answer.wait()
