"""The components of one run."""

import threading
from collections.abc import Mapping

from fogline_edge.serving.pipelines.components import Held, Part
from fogline_edge.serving.pipelines.fitting import Fitting
from fogline_edge.serving.pipelines.stop import Stop


class Crew:
    """Each component is taken when a step first needs it, and kept until the last that might.

    So all steps that a component plays in one run are played by one version of it, and a run holds
    no more models in memory than it has to.

    Args:
        parts: All components of the pipeline.
        uses: How many steps of this run each one plays in.
        fitting: Holds a version that comes anew against the others.
        stop: Ends waiting.
    """

    def __init__(
        self, parts: Mapping[str, Part], uses: Mapping[str, int], fitting: Fitting, stop: Stop
    ) -> None:
        self._parts = parts
        self._fitting = fitting
        self._stop = stop
        self._lock = threading.Lock()
        self._left = dict(uses)
        # These two are changed by single operations of dict and set alone, which are atomic.
        self._held: dict[str, Held] = {}
        self._failed: set[str] = set()

    def take(self, part: str) -> Held:
        """Raises as `Part.hold` and `Fitting.check`."""
        held = self._held.get(part)
        if held is not None:
            return held
        held = self._parts[part].hold(self._stop)
        try:
            self._fitting.check(part, held)
        except BaseException:
            held.release(failed=True)
            raise
        first = self._held.setdefault(part, held)
        if first is not held:  # another branch took it at the same time
            held.release(failed=False)
        return first

    def note_failure(self, part: str) -> None:
        self._failed.add(part)

    def step_over(self, part: str) -> None:
        """A step of this part has run, or will not; the last one gives the component back."""
        with self._lock:
            self._left[part] -= 1
            held = None if self._left[part] else self._held.pop(part, None)
        if held is not None:
            held.release(failed=part in self._failed)

    def release(self) -> None:
        """Gives back what is left, when nothing runs any more."""
        for part, held in self._held.items():
            held.release(failed=part in self._failed)
