"""Deadlines and conduct: decisions of the HTTP/2 front that need no socket."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from fogline.wire.services import METHODS
from fogline_edge.serving.front import FrontConfig
from fogline_edge.serving.front.conduct import FLOOD, PINGS, Conduct
from fogline_edge.serving.front.config import LARGE
from fogline_edge.serving.front.deadlines import STEP_S, Deadlines
from fogline_edge.serving.front.poll import Poll


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_what_is_due_comes_once_and_never_early(plan: list[tuple[float, bool]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    steps = [deadlines.add(i, at) for i, (at, _) in enumerate(plan)]
    for i, (_, removed) in enumerate(plan):
        if removed:
            deadlines.remove(i, steps[i])
    seen: list[int] = []
    for tick in range(0, 10_200, 50):
        now = tick / 100
        due = deadlines.pop(now)
        assert all(plan[i][0] <= now <= plan[i][0] + 0.5 + 2 * STEP_S for i in due)
        seen += due
    assert sorted(seen) == [i for i, (_, removed) in enumerate(plan) if not removed]
    assert deadlines.next_at() is None


def test_deadlines_that_are_answered_leave_nothing() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for i in range(10_000):
        deadlines.remove(i, deadlines.add(i, i * 7.0))
    assert len(deadlines._steps) < 1000
    assert deadlines.next_at() is None
    assert deadlines.pop(1e9) == []


class Timer:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualLoop:
    """What a `Poll` asks of an event loop; its time stands still, and it counts its timers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], object], Timer]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object]) -> None: ...

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        self.timers.append((when, callback, Timer()))
        return self.timers[-1][2]

    def waiting(self) -> list[float]:
        return [when for when, _, timer in self.timers if not timer.is_cancelled]

    def advance(self, now: float) -> None:
        self.now = now
        due, self.timers = self.timers, [t for t in self.timers if t[0] > now]
        for when, callback, timer in due:
            if when <= now and not timer.is_cancelled:
                callback()


class Due:
    failed = False

    def fail(self, error: Exception) -> None:
        self.failed = True


def test_a_poll_has_one_timer_whatever_deadlines_come_and_go() -> None:
    loop = ManualLoop()
    poll = Poll(loop, lambda _: None, lambda: None, FrontConfig())
    calls = [Due() for _ in range(100)]
    steps = [poll.deadlines.add(one, 100.0) for one in calls[:1]]
    poll.flush()
    for i, one in enumerate(calls[1:], 1):  # each is earlier than those before
        steps.append(poll.deadlines.add(one, 100.0 - i / 2))
        poll.flush()
        assert len(loop.waiting()) == 1
    for one, step in zip(calls[1:], steps[1:], strict=True):
        poll.deadlines.remove(one, step)
    poll.flush()
    loop.advance(60.0)
    poll.flush()
    (at,) = loop.waiting()
    assert 100.0 <= at <= 100.0 + 2 * STEP_S  # not one for each that was answered in time
    loop.advance(at)
    assert [one.failed for one in calls] == [True] + [False] * 99
    poll.flush()
    assert loop.waiting() == []


def test_methods_with_long_requests_are_methods() -> None:
    assert set(METHODS) >= LARGE
    config = FrontConfig(max_message_bytes=1_000_000, max_small_message_bytes=20_000)
    limits = {path: config.limit_of(path) for path in (*METHODS, "/no/such")}
    assert {path for path, limit in limits.items() if limit == 1_000_000} == LARGE
    assert {limit for path, limit in limits.items() if path not in LARGE} == {20_000}


def test_frames_without_use_are_a_flood_unless_they_are_paid_for() -> None:
    config = FrontConfig(max_control_frames=100)
    conduct = Conduct(config)
    assert [conduct.charge() for _ in range(101)] == [None] * 100 + [FLOOD]
    conduct = Conduct(config)
    for _ in range(1000):  # a window update for each 16 KiB that was sent
        assert conduct.charge() is None
        conduct.sent(16_384, answers=0)
    for _ in range(1000):  # two for each answer, many of which leave in one write
        assert all(conduct.charge() is None for _ in range(90))
        conduct.sent(45 * 20, answers=45)
    for _ in range(1000):  # or ten in a second
        assert all(conduct.charge() is None for _ in range(10))
        conduct.passed(1.0)


def test_early_pings_are_struck_until_data_is_sent() -> None:
    conduct = Conduct(FrontConfig(max_ping_strikes=2, min_ping_interval_s=10))
    assert [conduct.ping(now) for now in (0, 1, 12, 13)] == [None, None, None, None]
    assert conduct.ping(14) == PINGS
    conduct.sent(100, answers=1)
    assert conduct.ping(15) is None


def test_bytes_of_no_use_are_bounded() -> None:
    conduct = Conduct(FrontConfig(max_idle_bytes=1024))
    assert not conduct.came(1024)
    assert conduct.came(1)
    conduct.idle_bytes = 0
    assert not conduct.came(1024)
