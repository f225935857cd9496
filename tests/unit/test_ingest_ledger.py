"""What is stored once, refused, dropped and acknowledged, as a pure decision."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from fogline_hub.ingest.ledger import MAX_ACK_RANGES, Ledger, Verdict
from fogline_hub.ingest.received import Received
from fogline_hub.lake import Source, State

SOURCE = Source("device-a", "outbox-1", "event")
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def ledger(*, max_beyond_floor: int = 100, max_outboxes: int = 2, max_digests: int = 100) -> Ledger:
    return Ledger(
        max_beyond_floor=max_beyond_floor, max_outboxes=max_outboxes, max_digests=max_digests
    )


def message(seq: int, floor: int = 1, digest: int = 0, source: Source = SOURCE) -> Received:
    return Received(
        source=source, seq=seq, floor=floor, body=b"", body_digest=digest, received_at=NOW
    )


def commit(book: Ledger, *seqs: int, dropped: tuple[tuple[int, int], ...] = ()) -> None:
    state = State()
    for seq in seqs:
        state.accepted.add(SOURCE, seq)
    for first, last in dropped:
        state.dropped.add(SOURCE, first, last)
    book.committed(state)


def test_a_number_is_new_once_also_before_its_commit() -> None:
    book = ledger()
    assert book.judge(message(1)) is Verdict.NEW
    book.take(message(1))
    assert book.judge(message(1)) is Verdict.DUPLICATE
    commit(book, 1)
    book.end_batch()
    assert book.judge(message(1)) is Verdict.DUPLICATE


def test_what_is_not_committed_is_not_acknowledged() -> None:
    book = ledger()
    book.take(message(1))
    assert book.acknowledgement(SOURCE, {}).contiguous_to == 0
    commit(book, 1)
    assert book.acknowledgement(SOURCE, {}).contiguous_to == 1


def test_other_content_under_a_taken_number_is_conflicting_while_it_is_remembered() -> None:
    book = ledger(max_digests=2)
    for seq in (1, 2, 3):
        book.take(message(seq, digest=seq))
    assert book.judge(message(3, digest=9)) is Verdict.CONFLICTING
    assert book.judge(message(3, digest=3)) is Verdict.DUPLICATE
    assert book.judge(message(1, digest=9)) is Verdict.DUPLICATE  # forgotten


def test_numbers_too_far_above_the_floor_are_refused() -> None:
    book = ledger(max_beyond_floor=100)
    assert book.judge(message(100, floor=1)) is Verdict.NEW
    assert book.judge(message(101, floor=1)) is Verdict.BEYOND
    assert book.judge(message(10**9 + 99, floor=10**9)) is Verdict.NEW


def test_a_device_has_a_bound_of_outboxes() -> None:
    book = ledger(max_outboxes=2)
    for outbox in ("one", "two"):
        book.take(message(1, source=Source("device-a", outbox, "event")))
    third = message(1, source=Source("device-a", "three", "event"))
    assert book.judge(third) is Verdict.TOO_MANY_OUTBOXES
    assert book.judge(message(1, source=Source("device-a", "two", "alarm"))) is Verdict.NEW
    assert book.judge(message(1, source=Source("device-b", "three", "event"))) is Verdict.NEW


def test_a_drop_is_told_once_and_closes_the_gap() -> None:
    book = ledger()
    book.take(message(5, floor=4))
    assert book.drop_below(SOURCE, 4) == [(1, 3)]
    assert book.drop_below(SOURCE, 4) == []
    commit(book, 5, dropped=((1, 3),))
    book.end_batch()
    assert book.drop_below(SOURCE, 4) == []
    ack = book.acknowledgement(SOURCE, {})
    assert (ack.contiguous_to, [(r.first, r.last) for r in ack.ranges]) == (3, [(5, 5)])


def test_a_number_that_was_dropped_and_comes_after_all_is_stored() -> None:
    book = ledger()
    commit(book, dropped=((1, 3),))
    assert book.judge(message(2)) is Verdict.NEW


def test_an_ack_names_a_bounded_number_of_ranges_lowest_first() -> None:
    book = ledger()
    commit(book, *range(2, 400, 2))
    ack = book.acknowledgement(SOURCE, {7: "bad"})
    assert len(ack.ranges) == MAX_ACK_RANGES
    assert ack.ranges[0].first == 2
    assert [(q.seq, q.reason) for q in ack.quarantined] == [(7, "bad")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10)), max_size=60), st.integers(1, 8))
def test_every_number_is_stored_dropped_or_unseen_and_acks_say_which(
    arrivals: list[tuple[int, int]], every: int
) -> None:
    """Any order, any repeats: taken once, dropped only below a floor, acked only when settled."""
    book, stored, dropped, batch = ledger(), set[int](), set[int](), State()
    for at, (seq, back) in enumerate(arrivals, 1):
        floor = max(1, seq - back)
        if book.judge(message(seq, floor)) is Verdict.NEW:
            assert seq not in stored
            stored.add(seq)
            book.take(message(seq, floor))
            batch.accepted.add(SOURCE, seq)
        for first, last in book.drop_below(SOURCE, floor):
            new = set(range(first, last + 1))
            assert not new & (stored | dropped)
            dropped |= new
            batch.dropped.add(SOURCE, first, last)
        if at % every == 0:
            book.committed(batch)
            book.end_batch()
            batch = State()
    book.committed(batch)
    ack = book.acknowledgement(SOURCE, {})
    named = set(range(1, ack.contiguous_to + 1))
    for r in ack.ranges:
        named |= set(range(r.first, r.last + 1))
    assert named == stored | dropped
