"""The command `fogline` as anybody would type it: once for its answer, or to run until it is ended.

What is started here dies with this process, also when it is killed.
"""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fogline.errors import DeadlineExceeded
from fogline.sandbox import Child, Limits, run_child, start_child
from fogline.sandbox.outcome import Ending

ROOT = Path(__file__).resolve().parents[2]
"""Where the package `examples` is, and in it the trainer that the hub calls."""
COMMAND_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 60.0
GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""


class StepFailed(Exception):
    """A step did not do what it says; the text is for people."""


def fogline() -> str:
    """The console script of the environment that runs this."""
    return str(Path(sys.executable).with_name("fogline"))


def ask(
    *words: str | Path, env: Mapping[str, str] | None = None, allowed: Sequence[int] = (0,)
) -> Any:
    """Runs one command with `--json` and returns its answer.

    Raises:
        StepFailed: its exit code is none of `allowed`.
    """
    argv = [fogline(), *map(str, words), "--json"]
    limits = Limits(timeout_s=COMMAND_TIMEOUT_S, oom_score_adj=None)
    outcome = run_child(argv, limits=limits, env=env)
    if outcome.ending is not Ending.EXITED or outcome.code not in allowed:
        said = outcome.stderr.decode(errors="replace").strip()
        raise StepFailed(f"`fogline {' '.join(map(str, words[:2]))}` {outcome.describe()}: {said}")
    return json.loads(outcome.stdout)


@dataclass(slots=True)
class Processes:
    """Commands that run until the end; the last one started is ended first.

    Leaving the `with` block ends all of them, whatever happened inside.
    """

    folder: Path
    """Where their logs go."""
    _running: list[tuple[str, Child]] = field(default_factory=list)

    def start(self, name: str, *words: str | Path) -> Child:
        """Starts one; its stderr goes to `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            child = start_child([fogline(), *map(str, words)], stderr=log.fileno())
        self._running.append((name, child))
        return child

    def wait_ready(self, name: str) -> dict[str, str]:
        """What a started command says with its line `ready KEY=VALUE ...`."""
        child = next(c for n, c in self._running if n == name)
        line = child.wait_line("ready ", READY_TIMEOUT_S)
        return dict(word.split("=", 1) for word in line.split()[1:])

    def check(self) -> None:
        """Raises `StepFailed` where one has ended by itself."""
        for name, child in self._running:
            outcome = child.poll()
            if outcome is not None:
                raise StepFailed(
                    f"{name} {outcome.describe()}; see {self.folder / name}.log: {self._last(name)}"
                )

    def stop(self) -> list[str]:
        """Ends all, those that were started together at once; names whoever had to be killed."""
        killed: list[str] = []
        while self._running:
            kind = self._running[-1][0].rstrip("0123456789")
            together = [r for r in self._running if r[0].rstrip("0123456789") == kind]
            self._running = [r for r in self._running if r not in together]
            for _, child in together:
                child.send(signal.SIGTERM)
            killed += [name for name, child in together if not _ended_well(child)]
        return killed

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _last(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _ended_well(child: Child) -> bool:
    """Waits for the end of a process that was asked to; a second SIGTERM would cut it short."""
    try:
        return child.wait(GRACE_S).is_success
    except DeadlineExceeded:
        child.kill()
        return False
