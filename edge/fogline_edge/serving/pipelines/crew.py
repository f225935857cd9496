"""The components of one run."""

from collections.abc import Mapping

from fogline_edge.serving.pipelines.components import Held, Part
from fogline_edge.serving.pipelines.fitting import Fitting
from fogline_edge.serving.pipelines.stop import Stop


class Crew:
    """Each component is taken when first needed, and kept until the run ends.

    So all steps that a component plays in one run are played by one version of it.
    """

    def __init__(self, parts: Mapping[str, Part], fitting: Fitting, stop: Stop) -> None:
        self._parts = parts
        self._fitting = fitting
        self._stop = stop
        # Changed by single operations of dict and set alone, which are atomic.
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

    def release(self) -> None:
        for part, held in self._held.items():
            held.release(failed=part in self._failed)
