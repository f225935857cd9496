"""Where each model stands, and who is told when that changes."""

from collections.abc import Callable

from fogline.desired import DesiredModel
from fogline_edge.install.phases import Event, Phase, move
from fogline_edge.install.records import ModelReport
from fogline_edge.install.state import Candidate


class Board:
    """The last report of each model; written by one thread, read by any."""

    def __init__(self, report: Callable[[ModelReport], None]) -> None:
        self._report = report
        self._last: dict[str, ModelReport] = {}

    def all(self) -> tuple[ModelReport, ...]:
        """The last report of each model, by name."""
        return tuple(report for _, report in sorted(self._last.copy().items()))

    def wanted(
        self, desired: DesiredModel, event: Event, *, variant: str = "", reason: str = ""
    ) -> ModelReport:
        """Something happened to a wanted version.

        Raises:
            Conflict: it cannot happen in the phase that the model is in.
        """
        return self._put(
            ModelReport(
                name=desired.name,
                version=desired.version,
                digest=desired.manifest,
                variant=variant,
                phase=self._after(desired.name, event),
                reason=reason,
            )
        )

    def held(self, name: str, candidate: Candidate, event: Event, reason: str = "") -> None:
        """Something happened at boot to a version on the disk; errors as `wanted`."""
        self._put(
            ModelReport(
                name=name,
                version=candidate.version,
                digest=candidate.digest,
                variant=candidate.variant,
                phase=self._after(name, event),
                reason=reason,
            )
        )

    def drop(self, name: str) -> None:
        self._last.pop(name, None)

    def _after(self, name: str, event: Event) -> Phase:
        last = self._last.get(name)
        return move(last.phase if last is not None else Phase.IDLE, event, name)

    def _put(self, report: ModelReport) -> ModelReport:
        if self._last.get(report.name) != report:
            self._last[report.name] = report
            self._report(report)
        return report
