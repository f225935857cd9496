"""A model's files on a disk as a `residency.Source`: proved once, opened whenever it is wanted.

What is opened are the files that were proved: their states are taken when the source is made, and
held against the disk before and after a proof, and before and after a load. A write in between
cannot go unnoticed, as it sets the time of the last change, which no program can set back.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fogline.errors import Conflict, NotFound
from fogline.runtime.plan import ModelPlan
from fogline_edge.serving.residency.room import Need
from fogline_edge.serving.served import ServedModel

State = tuple[int, ...]
"""What is different when a file is."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What a proof found."""

    plan: ModelPlan
    external_data: tuple[Path, ...] = ()
    """Files beside the model's that its graph reads constants from."""
    keep: Callable[[], None] = _nothing
    """Keeps it for the next start; called when the files are known to be the ones that were proved.
    """


class ModelSource:
    """A `residency.Source` of an ONNX file. Proved and opened on one thread at a time."""

    def __init__(
        self,
        name: str,
        version: int,
        *,
        files: Sequence[Path],
        open_: Callable[[ModelPlan], ServedModel],
        prove: Callable[[], Proved] | None = None,
        beside: Iterable[Path] = (),
        plan: ModelPlan | None = None,
    ) -> None:
        """Makes a source; nothing is read but what the files' states are.

        Args:
            name: What clients call the model.
            version: Its number.
            files: What it is made of.
            open_: Opens it by its plan.
            prove: Finds the plan, or raises why there is none; not asked where there is a plan.
            beside: What else it may be made of, as the proof finds out.
            plan: The plan, where it was found before; then nothing is proved.

        Raises:
            NotFound: a file is not there.
        """
        self.name = name
        self.version = version
        self.plan = plan
        # An installer that proved its files may drop a second link to one later, which is a change.
        self._is_installed = plan is not None
        self._files = tuple(files)
        self._states = {path: self._state(path) for path in self._files}
        for path in beside:
            with suppress(NotFound):  # it went while they were listed
                self._states[path] = self._state(path)
        self.stamp: Hashable = tuple(self._states.items())
        self._prove = prove
        self._open = open_

    @property
    def need(self) -> Need | None:
        return None if self.plan is None else need_of(self.plan)

    def prove(self) -> None:
        """Raises as the proof, and `Conflict` where a file changes meanwhile."""
        if self.plan is None and self._prove is not None:
            self._check_unchanged()
            proved = self._prove()
            self._files = tuple(dict.fromkeys((*self._files, *proved.external_data)))
            self._check_unchanged()
            proved.keep()
            self.plan = proved.plan

    def open(self) -> ServedModel:
        """Raises as the proof and the load; `Conflict` where the files are not those proved."""
        self.prove()
        self._check_unchanged()
        served = self._open(self.plan or ModelPlan())
        try:
            self._check_unchanged()
        except BaseException:
            served.runner.close()
            raise
        return served

    def _check_unchanged(self) -> None:
        for path in self._files:
            if self._states.get(path) != self._state(path):
                raise Conflict(
                    f"model {self.name}@{self.version}: {path.name} changed on the disk since it "
                    "was looked at; load the model again"
                )

    def _state(self, path: Path) -> State:
        try:
            s = path.stat()
        except OSError as e:
            raise NotFound(f"{path}: {e.strerror}") from e
        changed_ns = 0 if self._is_installed else s.st_ctime_ns
        return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, changed_ns


def need_of(plan: ModelPlan) -> Need:
    """What a plan's measured memory means for a budget on anonymous memory.

    The peak was measured with the file's pages in it, which a budget on anonymous memory does not
    count: they are taken off, as all of them are there when a session that maps them is warm.
    """
    memory = plan.memory
    if memory is None:
        return Need()
    peak = memory.load_peak_bytes - memory.file_bytes
    return Need(
        held_bytes=memory.anonymous_bytes,
        peak_bytes=max(peak, memory.anonymous_bytes),
        run_bytes=0 if plan.arena else memory.run_bytes,
    )
