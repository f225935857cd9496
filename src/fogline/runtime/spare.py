"""A child that has started before anyone knows which model it is to prove.

Starting and importing are most of what a small model's proof takes, and a process that is about to
need one has imports of its own meanwhile. Light to import: neither numpy nor onnxruntime.
"""

import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

from fogline.errors import FoglineError, Unavailable
from fogline.sandbox import Limits, Outcome, run_prepared

COMMAND = (sys.executable, "-P", "-B", "-m", "fogline.runtime.qualify")
"""`-P`: the working folder must not decide what is imported. Not `-I`, which would also leave out
packages that a user installed for himself; no variable that steers Python but `PYTHONPATH` reaches
a child anyway."""

START = Limits(file_bytes=1, network=False)
"""What the child may never do: write a file, use the network."""


class Spare:
    """One child, for one proof; `with` ends it if it was not used.

    Any thread may use it; a thread of its own starts and watches the child, because the kernel ends
    a child with the thread that made it.
    """

    def __init__(self) -> None:
        self._task: Future[tuple[bytes, Limits] | None] = Future()
        self._outcome: Future[Outcome | None] = Future()
        self._lock = threading.Lock()
        self._is_taken = False
        threading.Thread(target=self._keep, name="spare-proof", daemon=True).start()

    def take(self) -> bool:
        """Whether the caller may `run` it: true once."""
        with self._lock:
            is_first, self._is_taken = not self._is_taken, True
            return is_first

    def run(self, stdin: bytes, limits: Limits) -> Outcome:
        """Gives the child its task and waits for its end.

        Raises:
            NotFound, Unavailable: it could not be started, or was ended.
        """
        if not self._task.done():
            self._task.set_result((stdin, limits))
        outcome = self._outcome.result()
        if outcome is None:
            raise Unavailable("the child was ended before it was used")
        return outcome

    def close(self) -> None:
        """Ends the child if it has no task; waits for its end in any case."""
        if self.take():
            self._task.set_result(None)
        with suppress(FoglineError):
            self._outcome.result()

    def __enter__(self) -> "Spare":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _keep(self) -> None:
        try:
            self._outcome.set_result(
                run_prepared(COMMAND, limits=START, await_task=self._task.result)
            )
        except BaseException as e:  # the thread's boundary: whoever waits gets the error
            self._outcome.set_exception(e)
