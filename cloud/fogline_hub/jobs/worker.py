"""Two threads, so that windows go on being judged while a challenger trains."""

import logging
import threading
from collections.abc import Callable

from fogline.errors import FoglineError

_log = logging.getLogger(__name__)


class Loop:
    """Calls `work` again and again: at once while it says that it did something, else after a rest.

    Args:
        name: Of the thread.
        work: Returns whether it did something.
        interval_s: The rest, seconds.
        on_work: Called after something was done.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], bool],
        *,
        interval_s: float,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._interval_s = interval_s
        self._on_work = on_work
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something happened: look now."""
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Ends after what is being done; what takes longer dies with the process."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._once():
                self._on_work()
            else:
                self._wake.wait(self._interval_s)
            self._wake.clear()

    def _once(self) -> bool:
        try:
            return self._work()
        except FoglineError as e:
            _log.warning(self._thread.name, extra={"reason": str(e)})
        except Exception:  # a task boundary: the next look may succeed
            _log.exception(self._thread.name)
        return False
