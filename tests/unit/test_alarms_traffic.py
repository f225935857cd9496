"""When blocks and windows close, and what is late."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fogline.summaries import Partial, Scope, build_reference
from fogline_hub.monitor import AccuracyBlock
from fogline_hub.monitor.alarms.change import change_block
from fogline_hub.monitor.alarms.traffic import Reach, VersionTraffic

REFERENCE = build_reference({"x": np.arange(4.0)}, {"label": np.array([0, 1, 0, 1])}, labels="01")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def outcomes(start_us: int, right: int, wrong: int = 0) -> Partial:
    partial = Partial(REFERENCE, Scope(model="m", version=1, window_start_us=start_us, window_us=5))
    partial.add_labelled([1] * (right + wrong), [1] * right + [0] * wrong)
    return partial


def traffic() -> VersionTraffic:
    return VersionTraffic(block_us=10, window_us=20)


def test_the_watermark_is_what_every_device_that_still_sends_has_reached() -> None:
    reach = Reach()
    assert reach.watermark_us(60) is None
    reach.note("fast", 900, NOW)
    reach.note("slow", 300, NOW - timedelta(seconds=10))
    reach.note("slow", 200, NOW - timedelta(seconds=9))
    assert reach.watermark_us(60) == 300
    reach.note("fast", 1900, NOW + timedelta(seconds=80))
    assert reach.watermark_us(60) == 1900


def test_a_block_is_given_once_it_ended_and_what_comes_later_is_counted_as_late() -> None:
    seen = traffic()
    seen.add(outcomes(0, 3, 1), is_new=True)
    seen.add(outcomes(5, 2), is_new=True)
    seen.add(outcomes(10, 1), is_new=True)
    assert seen.closed_blocks(9) == ()
    assert seen.closed_blocks(19) == (AccuracyBlock(index=0, errors=1, rows=6),)
    assert seen.closed_windows(19) == {}
    seen.forget(19)
    seen.add(outcomes(5, 4), is_new=True)
    seen.add(outcomes(5, 4), is_new=False)
    assert seen.late_labelled == 4
    assert [b.index for b in seen.closed_blocks(20)] == [1]
    assert set(seen.closed_windows(20)) == {0}


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_blocks_add_up_to_all_outcomes_in_any_order_and_grouping(
    parts: list[tuple[int, int, int]],
) -> None:
    one, other = traffic(), traffic()
    for start, right, wrong in parts:
        one.add(outcomes(start, right, wrong), is_new=True)
    for start, right, wrong in reversed(parts):
        partial = outcomes(start, right, wrong)
        other.add_outcomes(partial.scope, partial.confusion, REFERENCE, is_new=True)
    assert one.closed_blocks(1000) == other.closed_blocks(1000)
    assert sum(b.rows for b in one.closed_blocks(1000)) == sum(r + w for _, r, w in parts)
    merged = [p for parts in other.closed_windows(1000).values() for p in parts]
    assert sum(p.confusion.rows for p in merged) == sum(r + w for _, r, w in parts)


def test_a_change_is_dated_by_the_blocks_that_follow_it() -> None:
    rng = np.random.default_rng(3)
    rates = [0.2] * 40 + [0.5] * 12
    blocks = [
        AccuracyBlock(index=i, errors=int(rng.binomial(30, rate)), rows=30)
        for i, rate in enumerate(rates)
    ]
    assert abs(change_block(blocks, 0.25) - 40) <= 1
    assert change_block([AccuracyBlock(index=0, errors=0, rows=5)], 0.25) == 0
