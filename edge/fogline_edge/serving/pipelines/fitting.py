"""Do the components that are active now fit together? Asked at load, and again after each swap."""

import threading

from fogline.errors import InvalidInput, Unavailable, Unsupported
from fogline.pipeline import Pipeline, pipeline_misfit
from fogline.runtime.interrupt import Interrupt
from fogline.schema import Schema
from fogline_edge.serving.pipelines.components import Held, Look, Part
from fogline_edge.serving.pipelines.stop import Stop


class Fitting:
    """Holds components against the definition, each version of one once.

    A component is known by its schema object: a version in memory keeps it, and another has its
    own. Safe to use from any thread.
    """

    def __init__(self, pipeline: Pipeline, parts: dict[str, Part], label: str) -> None:
        self._pipeline = pipeline
        self._parts = parts
        self._label = label
        self._lock = threading.Lock()
        self._fitting: dict[str, Schema] = {}
        self._optional = {step.run for step in pipeline.steps if step.optional} - {
            step.run for step in pipeline.steps if not step.optional
        }

    def check_all(self, interrupt: Interrupt) -> None:
        """Holds all components that are there against each other, loading them if need be.

        Raises:
            Unavailable: one is not there or cannot be loaded that no step can go without.
            InvalidInput: they do not fit; the text names step, tensor, expected and got.
            Unsupported: one is a pipeline itself.
        """
        schemas = self._loaded(Stop(interrupt))
        misfit = pipeline_misfit(self._pipeline, schemas)
        if misfit:
            raise InvalidInput(f"{self._label}: {misfit}")
        with self._lock:
            self._fitting = schemas

    def check(self, part: str, held: Held) -> None:
        """Holds a component that was not seen before against those that are there now.

        Raises:
            Unavailable: it does not fit; it may, when another one is swapped as well.
        """
        if self._fitting.get(part) is held.schema:
            return
        if held.look().is_pipeline:
            raise Unavailable(f"{self._ref(part)} is a pipeline now; pipelines are not nested")
        looks = {key: look for key, p in self._parts.items() if (look := p.peek()) is not None}
        there = {key: look.schema for key, look in looks.items()}
        schemas = {**self._fitting, **there, part: held.schema}
        misfit = pipeline_misfit(self._pipeline, schemas, is_complete=False)
        if misfit:
            raise Unavailable(
                f"version {held.version} of {self._ref(part)} does not fit into it: {misfit}"
            )
        with self._lock:
            self._fitting = schemas

    def _loaded(self, stop: Stop) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        for key, part in self._parts.items():
            try:
                look = part.peek() or _held_look(part, stop)
            except Unavailable as e:
                stop.check(self._label)
                if key in self._optional:
                    continue
                raise Unavailable(f"{self._label}, component {key!r}: {e}") from e
            if look.is_pipeline:
                raise Unsupported(
                    f"{self._label}, component {key!r}: {self._ref(key)} is a pipeline; pipelines "
                    "are not nested"
                )
            found[key] = look.schema
        return found

    def _ref(self, part: str) -> str:
        return self._pipeline.components[part].ref


def _held_look(part: Part, stop: Stop) -> Look:
    """Brings a component into memory for a look. Raises as `Part.hold`."""
    held = part.hold(stop)
    held.release(failed=False)
    return held.look()
