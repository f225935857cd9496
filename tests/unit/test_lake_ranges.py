"""Sets of sequence numbers, against Python's own sets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.errors import Corrupt
from fogline_hub.lake import Accepted, RangeSet, Source
from fogline_hub.lake.note import State, make_note, read_note, rebuild

spans = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda t: (t[0], t[0] + t[1])), max_size=30
)
sources = st.builds(
    Source,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["o1", "o2"]),
    st.sampled_from(["sample", "event"]),
)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


@settings(deadline=None)
@given(spans)
def test_a_range_set_holds_what_a_set_would(added: list[tuple[int, int]]) -> None:
    ranges, plain = RangeSet(added), members(added)
    assert members(list(ranges)) == plain
    assert all((n in ranges) == (n in plain) for n in range(70))
    firsts, lasts = [f for f, _ in ranges], [last for _, last in ranges]
    assert all(last + 1 < first for last, first in zip(lasts, firsts[1:], strict=False))


@settings(deadline=None)
@given(spans)
def test_contiguous_to_is_the_end_of_the_unbroken_start(added: list[tuple[int, int]]) -> None:
    plain = members(added)
    assert RangeSet(added).contiguous_to() == next(n for n in range(100) if n + 1 not in plain)


@settings(deadline=None)
@given(spans, st.integers(1, 80))
def test_missing_below_is_the_complement(added: list[tuple[int, int]], limit: int) -> None:
    missing = members(list(RangeSet(added).missing_below(limit)))
    assert missing == set(range(1, limit)) - members(added)


@settings(deadline=None)
@given(spans, spans)
def test_order_of_adding_does_not_matter(
    a: list[tuple[int, int]], b: list[tuple[int, int]]
) -> None:
    one, other = RangeSet(a), RangeSet(b)
    one.update(RangeSet(b))
    other.update(RangeSet(a))
    assert one == other


def test_a_range_that_is_none_is_refused() -> None:
    for first, last in ((0, 3), (5, 4), (-1, 2)):
        with pytest.raises(ValueError, match="range"):
            RangeSet().add(first, last)


@settings(deadline=None)
@given(st.lists(st.tuples(sources, st.integers(1, 30)), max_size=40), st.integers(1, 5))
def test_notes_rebuild_what_was_accepted(taken: list[tuple[Source, int]], full_every: int) -> None:
    whole, notes = State(), [make_note("w", 0, State(), full=True)]
    for serial, (source, seq) in enumerate(taken, 1):
        added = State()
        added.accepted.add(source, seq)
        added.dropped.add(source, seq + 100)
        whole.update(added)
        full = serial % full_every == 0
        notes.append(make_note("w", serial, whole if full else added, full=full))
        notes.append("")  # a commit of another engine in between
    commits = [{"fogline": note} if note else {"operation": "OPTIMIZE"} for note in notes]
    assert rebuild((read_note(c, "t") for c in reversed(commits)), "t") == whole


def test_a_log_without_a_full_note_is_corrupt() -> None:
    note = make_note("w", 5, State(), full=False)
    with pytest.raises(Corrupt, match="restore"):
        rebuild([read_note({"fogline": note}, "t")], "t")


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1")), st.integers()))
def test_a_note_decodes_or_is_corrupt(text: object) -> None:
    with pytest.raises(Corrupt):
        read_note({"fogline": text}, "t")


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=20), st.lists(st.tuples(st.integers(), st.integers()))))
def test_accepted_ranges_decode_or_are_corrupt(plain: dict[str, list[tuple[int, int]]]) -> None:
    try:
        accepted = Accepted.from_plain(plain)
    except Corrupt:
        return
    assert Accepted.from_plain(accepted.to_plain()) == accepted
