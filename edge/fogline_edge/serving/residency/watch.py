"""The thread that looks at the machine's memory and tells residency what it saw."""

import logging
import os
import threading

from fogline_edge.serving.memory import Machine, Trigger
from fogline_edge.serving.residency.config import PressureConfig
from fogline_edge.serving.residency.pressure import Strain, judge
from fogline_edge.serving.residency.residency import Residency

_LOG = logging.getLogger(__name__)


class MemoryWatch:
    """Reads every `interval_s`, and at once when the kernel calls; from `start` to `close`."""

    def __init__(
        self,
        residency: Residency,
        *,
        config: PressureConfig | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._residency = residency
        self._config = config or residency.config.pressure
        self._machine = machine or Machine()
        self._trigger = Trigger(self._machine.pressure_file, self._config.stall_us)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
        self._last = Strain.NONE

    @property
    def source(self) -> str:
        """Where it looks, for people."""
        how = "the kernel calls" if self._trigger.is_armed else "read now and then"
        return f"{self._machine.source} ({how})"

    def start(self) -> None:
        _LOG.info("memory is watched", extra={"source": self.source})
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; also before `start`, and again."""
        if self._wake_write < 0:
            return
        os.write(self._wake_write, b"\0")
        if self._thread.is_alive():
            self._thread.join()
        self._trigger.close()
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)
        self._wake_write = -1

    def look(self, *, is_triggered: bool = False) -> Strain:
        """Takes one reading and passes the verdict on."""
        verdict = judge(self._machine.read(is_triggered=is_triggered), self._config)
        if verdict.strain is not self._last:
            self._last = verdict.strain
            _LOG.warning(
                "memory", extra={"strain": verdict.strain.name.lower(), "why": verdict.reason}
            )
        self._residency.relieve(verdict)
        return verdict.strain

    def _run(self) -> None:
        is_triggered = False
        while True:
            try:
                self.look(is_triggered=is_triggered)
            except Exception:  # a task boundary: the next reading may succeed
                _LOG.exception("memory not read")
            is_triggered = self._trigger.wait(self._config.interval_s, self._wake_read)
            if self._is_woken():
                return

    def _is_woken(self) -> bool:
        try:
            return bool(os.read(self._wake_read, 1))
        except BlockingIOError:
            return False
