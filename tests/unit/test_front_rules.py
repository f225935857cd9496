"""Deadlines and conduct: decisions of the HTTP/2 front that need no socket."""

from hypothesis import given
from hypothesis import strategies as st

from fogline_edge.serving.front import FrontConfig
from fogline_edge.serving.front.conduct import FLOOD, PINGS, Conduct
from fogline_edge.serving.front.deadlines import STEP_S, Deadlines


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
    assert deadlines.pop(1e9) == []


def test_frames_without_use_are_a_flood_unless_they_are_paid_for() -> None:
    config = FrontConfig(max_control_frames=100)
    conduct = Conduct(config)
    assert [conduct.charge() for _ in range(101)] == [None] * 100 + [FLOOD]
    conduct = Conduct(config)
    for _ in range(1000):  # a window update for each 16 KiB that was sent
        assert conduct.charge() is None
        conduct.sent(16_384, data=False)
    for _ in range(1000):  # or ten in a second
        assert all(conduct.charge() is None for _ in range(10))
        conduct.passed(1.0)


def test_early_pings_are_struck_until_data_is_sent() -> None:
    conduct = Conduct(FrontConfig(max_ping_strikes=2, min_ping_interval_s=10))
    assert [conduct.ping(now) for now in (0, 1, 12, 13)] == [None, None, None, None]
    assert conduct.ping(14) == PINGS
    conduct.sent(100, data=True)
    assert conduct.ping(15) is None


def test_bytes_of_no_use_are_bounded() -> None:
    conduct = Conduct(FrontConfig(max_idle_bytes=1024))
    assert not conduct.came(1024)
    assert conduct.came(1)
    conduct.idle_bytes = 0
    assert not conduct.came(1024)
