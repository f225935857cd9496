"""How requests of one model may wait and run, where its own declaration says so."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record

MAX_PRIORITIES = 64

_Priority = Annotated[int, Meta(ge=0, le=MAX_PRIORITIES)]


class QueuePolicy(Record, frozen=True, kw_only=True):
    """The words of Triton's `ModelQueuePolicy`; the defaults leave all to the server's bounds."""

    max_queued: Annotated[int, Meta(ge=0)] = 0
    """Most requests that wait; 0: the server's own bound, which is never exceeded."""
    max_running: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Runs that go on at once; 0: as many as the server lets. Runs on the front's own thread go
    one after the other anyway."""
    timeout_us: Annotated[int, Meta(ge=0, le=86_400_000_000)] = 0
    """How long a request may take that does not say so itself, microseconds; 0: the server's."""
    is_timeout_fixed: bool = False
    """Whether a request's own `timeout` parameter is passed over."""
    priorities: _Priority = 0
    """Requests may have the priorities 1, the highest, to this; 0: they have none."""
    default_priority: _Priority = 0
    """The priority of requests that give none; 0 with `priorities` 0."""

    def __post_init__(self) -> None:
        if self.default_priority > self.priorities or bool(self.default_priority) != bool(
            self.priorities
        ):
            raise ValueError(
                f"the default priority {self.default_priority} is none of 1 to {self.priorities}"
            )

    def limit_s(self, asked_s: float | None) -> float | None:
        """How long a request may take that asks for `asked_s`, seconds; None: it is not said.

        >>> QueuePolicy(timeout_us=20_000).limit_s(None), QueuePolicy(timeout_us=20_000).limit_s(9)
        (0.02, 9)
        """
        if self.timeout_us and (asked_s is None or self.is_timeout_fixed):
            return self.timeout_us / 1e6
        return asked_s

    def priority(self, asked: int) -> int:
        """The priority of a request that asks for `asked`, 0 for none.

        As Triton has it, a priority that there is not is the default.

        >>> [QueuePolicy(priorities=3, default_priority=2).priority(asked) for asked in (0, 1, 9)]
        [2, 1, 2]
        """
        if self.priorities and not 0 < asked <= self.priorities:
            return self.default_priority
        return asked
