"""Which versions there should be, and which of them answers to the name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import NotFound
from fogline_edge.serving.versions import (
    VersionPolicy,
    VersionState,
    active_version,
    index_reason,
    index_state,
    parse_version,
)

ABSENT, READY, FAILED = VersionState.ABSENT, VersionState.READY, VersionState.FAILED
UNLOADED = VersionState.UNLOADED
NUMBERS = st.integers(1, 50)


def test_policies_choose_among_what_is_there() -> None:
    there = [2, 10, 9]
    assert VersionPolicy().choose(there) == (10,)
    assert VersionPolicy(latest=2).choose(there) == (9, 10)
    assert VersionPolicy(latest=9).choose(there) == (2, 9, 10)
    assert VersionPolicy(kind="all").choose(there) == (2, 9, 10)
    assert VersionPolicy(kind="specific", specific=(9, 2, 9)).choose(there) == (2, 9)
    assert VersionPolicy().choose([]) == ()
    with pytest.raises(
        NotFound, match=r"names \[3\], which are not there; there are: \[2, 9, 10\]"
    ):
        VersionPolicy(kind="specific", specific=(3, 9)).choose(there)


def test_the_highest_that_serves_answers() -> None:
    none = frozenset[int]()
    assert active_version({}, None, none) is None
    assert active_version({1: READY, 2: ABSENT}, None, none) == 2
    assert active_version({1: READY, 2: FAILED}, None, none) == 1
    assert active_version({1: FAILED, 2: FAILED}, None, none) == 2
    assert active_version({1: FAILED, 2: UNLOADED}, None, none) == 1
    assert active_version({1: UNLOADED}, None, none) is None
    assert active_version({1: READY, 2: READY}, None, frozenset({2})) == 1


def test_the_chosen_version_answers_whatever_its_state() -> None:
    assert active_version({1: FAILED, 2: READY}, 1, frozenset()) == 1
    assert active_version({1: READY, 2: READY}, 2, frozenset({2})) == 2
    assert active_version({1: READY}, 2, frozenset()) is None


@given(
    st.dictionaries(NUMBERS, st.sampled_from(VersionState)),
    st.none() | NUMBERS,
    st.frozensets(NUMBERS),
)
def test_what_answers_is_there_and_no_better_one_was_passed_over(
    versions: dict[int, VersionState], chosen: int | None, by_number: frozenset[int]
) -> None:
    active = active_version(versions, chosen, by_number)
    if chosen is not None:
        assert active == (chosen if chosen in versions else None)
        return
    ready = {n for n, s in versions.items() if s is READY} - by_number
    if ready:
        assert active is not None
        assert active >= max(ready)
    if active is not None:
        assert versions[active] is not UNLOADED
        assert active not in by_number


@given(st.text(max_size=12))
def test_only_decimal_digits_are_a_version(text: str) -> None:
    number = parse_version(text)
    assert number is None or (text.isascii() and int(text) == number < 10**9)


@given(st.integers(0, 10**9 - 1))
def test_a_version_is_read_as_it_was_written(number: int) -> None:
    assert parse_version(str(number)) == number


def test_every_state_has_a_row_in_the_index() -> None:
    assert {index_state(s) for s in VersionState} == {
        "READY", "LOADING", "UNLOADING", "UNAVAILABLE"
    }  # fmt: skip
    assert index_reason(READY, "") == ""
    assert index_reason(FAILED, "why") == "why"
    assert index_reason(UNLOADED, "") == "unloaded"
