"""Who leaves memory so that another fits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import Exhausted
from fogline_edge.serving.memory import Reading
from fogline_edge.serving.residency.room import (
    Bounds,
    Need,
    Resident,
    Room,
    check_machine,
    make_room,
    order_of_leaving,
)

MIB = 2**20
NEED = Need(held_bytes=10 * MIB, peak_bytes=20 * MIB)


def resident(name: str, used: int, *, in_flight: int = 0, is_pinned: bool = False) -> Resident:
    return Resident(
        label=name, held_bytes=10 * MIB, used=used, in_flight=in_flight, is_pinned=is_pinned
    )


def leaving(residents: list[Resident], budget: int, most: int = 64, need: Need = NEED) -> list[str]:
    used = sum(r.held_bytes for r in residents)
    bounds = Bounds(budget_bytes=budget, max_loaded=most)
    return [r.label for r in make_room(need, "m", residents, used, bounds).leaving]


def test_nobody_leaves_where_there_is_room_or_no_budget() -> None:
    residents = [resident("a", 1), resident("b", 2)]
    assert leaving(residents, 40 * MIB) == []
    assert leaving(residents, 0) == []
    assert leaving([], 20 * MIB) == []


def test_the_least_recently_used_leave_until_the_peak_fits() -> None:
    residents = [resident("a", 3), resident("b", 1), resident("c", 2)]
    assert leaving(residents, 49 * MIB) == ["b"]
    assert leaving(residents, 39 * MIB) == ["b", "c"]
    assert leaving(residents, 20 * MIB) == ["b", "c", "a"]
    assert leaving(residents, 0, most=3) == ["b"]
    assert leaving(residents, 0, most=1) == ["b", "c", "a"]


def test_room_is_kept_for_runs_but_no_model_is_refused_for_it() -> None:
    residents = (resident("a", 1), resident("b", 2))
    bounds = Bounds(budget_bytes=45 * MIB, max_loaded=9, reserve_bytes=10 * MIB)
    room = make_room(NEED, "m", residents, 20 * MIB, bounds)
    assert (room.is_there, [r.label for r in room.leaving]) == (True, ["a"])
    tight = Bounds(budget_bytes=20 * MIB, max_loaded=9, reserve_bytes=15 * MIB)
    room = make_room(NEED, "m", residents, 20 * MIB, tight)
    assert (room.is_there, [r.label for r in room.leaving]) == (False, ["a", "b"])
    assert make_room(NEED, "m", (), 0, tight) == Room(is_there=True)
    # The process itself holds more than is accounted for.
    room = make_room(NEED, "m", residents, 29 * MIB, bounds)
    assert [r.label for r in room.leaving] == ["a", "b"]


def test_the_idle_leave_before_those_with_requests_and_the_pinned_never() -> None:
    residents = [
        resident("busy", 1, in_flight=2),
        resident("pinned", 2, is_pinned=True),
        resident("idle", 3),
    ]
    assert [r.label for r in order_of_leaving(residents)] == ["idle", "busy"]
    assert leaving(residents, 40 * MIB) == ["idle"]
    assert leaving(residents, 30 * MIB) == ["idle", "busy"]
    with pytest.raises(Exhausted, match=r"takes 20\.0 MiB .*10\.0 MiB are pinned \(pinned\)"):
        leaving(residents, 29 * MIB)
    with pytest.raises(Exhausted, match="1 versions may be in memory"):
        leaving(residents, 0, most=1)


@given(
    st.lists(
        st.builds(
            Resident,
            label=st.text(max_size=3),
            held_bytes=st.integers(0, 100),
            used=st.integers(0, 100),
            in_flight=st.integers(0, 2),
            is_pinned=st.booleans(),
        ),
        max_size=8,
    ),
    st.integers(0, 150),
    st.integers(1, 300),
    st.integers(1, 9),
)
def test_what_stays_and_the_load_fit_together_and_nobody_left_in_vain(
    residents: list[Resident], peak: int, budget: int, most: int
) -> None:
    need = Need(held_bytes=peak // 2, peak_bytes=peak)
    bounds = Bounds(budget_bytes=budget, max_loaded=most)
    used = sum(r.held_bytes for r in residents)
    pinned = [r for r in residents if r.is_pinned]
    try:
        room = make_room(need, "m", residents, used, bounds)
    except Exhausted:
        assert len(pinned) >= most or sum(r.held_bytes for r in pinned) + peak > budget
        return
    gone = room.leaving
    assert room.is_there == (not gone)
    assert not any(r.is_pinned for r in gone)
    assert used - sum(r.held_bytes for r in gone) + peak <= budget
    assert len(residents) - len(gone) < most
    if gone:
        kept = used - sum(r.held_bytes for r in gone[:-1])
        assert kept + peak > budget or len(residents) - len(gone) + 1 >= most


def test_a_load_that_the_machine_or_the_group_cannot_bear_is_refused() -> None:
    wide = Reading(total_bytes=1000 * MIB, available_bytes=500 * MIB)
    check_machine(NEED, "m", wide, 0.03)
    with pytest.raises(Exhausted, match=r"the machine has 40\.0 MiB of 1000\.0 MiB free"):
        check_machine(NEED, "m", replace(wide, available_bytes=40 * MIB), 0.03)
    tight = replace(wide, group_used_bytes=90 * MIB, group_limit_bytes=100 * MIB)
    with pytest.raises(Exhausted, match="control group has"):
        check_machine(NEED, "m", tight, 0.03)
    check_machine(NEED, "m", Reading(total_bytes=0, available_bytes=0), 0.03)
