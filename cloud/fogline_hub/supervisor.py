"""Starts the hub's processes as they need each other, keeps them running, and ends them.

Each look at the clock is one `tick`: it starts what is due, asks those that start whether they are
ready, and notices who died. A process that dies is started again after a wait that doubles; one
that dies too often, or that was never ready, ends the hub, because a hub that lacks a part should
be seen to be down. Nothing blocks for longer than one look, so SIGTERM is always heard.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from threading import Event

from fogline.backoff import Backoff
from fogline.clock import Clock
from fogline.durable import write_durably
from fogline.errors import DeadlineExceeded, FoglineError, Unavailable
from fogline.records import canonical_json
from fogline.sandbox import Child, start_child
from fogline_hub.config import SupervisorConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One kind of process of the hub."""

    name: str
    argv: tuple[str, ...]
    """Program and arguments; never a secret."""
    stdin: bytes = b""
    """What it reads at its start, such as its configuration."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that every child gets."""
    is_ready: Callable[[Child], bool]
    """Asked again and again while it starts; must not block for long."""
    needs: tuple[str, ...] = ()
    """Roles that must have been ready before its first start."""
    last_words: Callable[[], str] = lambda: "see its log lines above"
    """Why it may have died, for the operator."""


def says(prefix: str) -> Callable[[Child], bool]:
    """Ready once a line on stdout starts with `prefix`."""

    def is_ready(child: Child) -> bool:
        with suppress(DeadlineExceeded, Unavailable):
            child.wait_line(prefix, timeout_s=0.01)
            return True
        return False

    return is_ready


class State(Enum):
    WAITING = "waiting"
    """Not started yet, or dead and waiting for its next start."""
    STARTING = "starting"
    READY = "ready"


@dataclass(slots=True, kw_only=True)
class _Watched:
    role: Role
    state: State = State.WAITING
    child: Child | None = None
    due_at: float = 0.0
    """Start time while waiting, latest time to be ready while starting; monotonic seconds."""
    was_ready: bool = False
    restarts: int = 0
    deaths: deque[float] = field(default_factory=deque)


class Supervisor:
    """Keeps `roles` running; one thread drives it."""

    def __init__(
        self,
        roles: Sequence[Role],
        config: SupervisorConfig,
        *,
        clock: Clock,
        random: Callable[[], float],
        status_file: Path,
    ) -> None:
        self._watched = [_Watched(role=role) for role in roles]
        self._config = config
        self._clock = clock
        self._random = random
        self._backoff = Backoff(base_s=config.restart_base_s, cap_s=config.restart_cap_s)
        self._status_file = status_file

    @property
    def is_ready(self) -> bool:
        """Whether every process is ready now."""
        return all(w.state is State.READY for w in self._watched)

    def run(self, stop: Event, on_ready: Callable[[], None]) -> None:
        """Starts all, calls `on_ready` once when all are ready, watches until `stop`, ends all.

        Raises:
            Unavailable: a process was never ready, or died too often; all are ended.
        """
        was_ready = False
        try:
            while not stop.is_set():
                self.tick()
                if self.is_ready and not was_ready:
                    was_ready = True
                    on_ready()
                stop.wait(self._config.poll_s)
        finally:
            self.stop()

    def tick(self) -> None:
        """One look at every process; errors as `run`."""
        for watched in self._watched:
            if watched.child is not None and watched.child.poll() is not None:
                self._died(watched)
            if watched.state is State.WAITING and self._has_needs(watched.role):
                self._start_if_due(watched)
            elif watched.state is State.STARTING:
                self._look_at_start(watched)

    def _has_needs(self, role: Role) -> bool:
        ready = {w.role.name for w in self._watched if w.was_ready}
        return ready.issuperset(role.needs)

    def stop(self) -> None:
        """Ends all, the last of the table first."""
        for watched in reversed(self._watched):
            if watched.child is not None:
                watched.child.terminate(self._config.stop_grace_s)
                watched.child = None
                watched.state = State.WAITING
        self._tell()

    def _start_if_due(self, watched: _Watched) -> None:
        now = self._clock.monotonic()
        if now < watched.due_at:
            return
        try:
            watched.child = start_child(
                watched.role.argv, stdin=watched.role.stdin, env=watched.role.env, stderr=None
            )
        except FoglineError as e:
            raise Unavailable(f"{watched.role.name} cannot be started: {e}") from e
        watched.state = State.STARTING
        watched.due_at = now + self._config.ready_timeout_s
        self._tell()

    def _look_at_start(self, watched: _Watched) -> None:
        if watched.child is not None and watched.role.is_ready(watched.child):
            watched.state = State.READY
            watched.was_ready = True
            _log.info("ready", extra={"role": watched.role.name, "pid": watched.child.pid})
            self._tell()
        elif self._clock.monotonic() >= watched.due_at and watched.child is not None:
            _log.warning("not ready in time", extra={"role": watched.role.name})
            watched.child.kill()

    def _died(self, watched: _Watched) -> None:
        """Plans the next start, or gives up."""
        outcome = watched.child.poll() if watched.child else None
        end = outcome.describe() if outcome else "ended"
        now = self._clock.monotonic()
        name = watched.role.name
        watched.child = None
        watched.state = State.WAITING
        watched.deaths.append(now)
        while watched.deaths[0] < now - self._config.failure_window_s:
            watched.deaths.popleft()
        if not watched.was_ready:
            raise Unavailable(f"{name} {end} before it was ready: {watched.role.last_words()}")
        if len(watched.deaths) > self._config.max_failures:
            raise Unavailable(
                f"{name} died {len(watched.deaths)} times in {self._config.failure_window_s:g} s; "
                f"the last time it {end}: {watched.role.last_words()}"
            )
        delay_s = self._backoff.late(len(watched.deaths) - 1, self._random)
        watched.due_at = now + delay_s
        watched.restarts += 1
        _log.warning("died", extra={"role": name, "end": end, "restart_in_s": round(delay_s, 2)})
        self._tell()

    def _tell(self) -> None:
        """Writes what `fogline status` shows of the processes."""
        told = {
            w.role.name: {
                "state": w.state.value,
                "pid": w.child.pid if w.child else None,
                "restarts": w.restarts,
            }
            for w in self._watched
        }
        try:
            write_durably(self._status_file, canonical_json(told))
        except OSError as e:  # a full disk must not end what still runs
            _log.warning("status not written", extra={"reason": str(e)})
