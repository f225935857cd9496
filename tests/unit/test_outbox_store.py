import os
import stat
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.clock import ManualClock
from fogline.errors import Conflict, Corrupt, InvalidInput, Unavailable
from fogline.topics import STREAMS
from fogline.wire import fleet_pb2
from fogline_edge.outbox import MAX_BODY_BYTES, DeviceTime, Outbox, OutboxConfig, StreamBounds

SMALL = StreamBounds(max_bytes=131_072, max_age_s=100.0)
LARGE = StreamBounds(max_bytes=1_000_000, max_age_s=1e6)


@pytest.fixture
def clock() -> ManualClock:
    clock = ManualClock()
    clock.advance(timedelta(days=365 * 27).total_seconds())
    return clock


@pytest.fixture
def outbox(tmp_path: Path, clock: ManualClock) -> Iterator[Outbox]:
    opened = Outbox.open(tmp_path / "outbox.db", clock=clock)
    yield opened
    opened.close()


def ack(
    outbox: Outbox, stream: str, contiguous_to: int = 0, ranges: Sequence[tuple[int, int]] = ()
) -> fleet_pb2.Ack:
    return fleet_pb2.Ack(
        outbox_id=outbox.outbox_id,
        stream=stream,
        contiguous_to=contiguous_to,
        ranges=[fleet_pb2.Ack.Range(first=a, last=b) for a, b in ranges],
    )


def events(outbox: Outbox) -> list[fleet_pb2.Event]:
    return [fleet_pb2.Event.FromString(row.body) for row in outbox.pending("event")]


def seqs(outbox: Outbox, stream: str) -> list[int]:
    return [row.seq for row in outbox.pending(stream)]


def test_each_stream_counts_from_one(outbox: Outbox) -> None:
    assert outbox.append([("sample", b"a"), ("summary", b"b"), ("sample", b"c")]) == [1, 1, 2]
    assert [(r.seq, r.body) for r in outbox.pending("sample")] == [(1, b"a"), (2, b"c")]
    assert outbox.pending("sample", after_seq=1)[0].body == b"c"
    assert outbox.row("summary", 1) is not None
    assert outbox.row("summary", 2) is None


def test_a_row_carries_the_stamp_of_its_commit(outbox: Outbox, clock: ManualClock) -> None:
    outbox.append([("event", b"")])
    stamp = outbox.pending("event")[0].stamp
    assert stamp.wall_us == round(clock.now().timestamp() * 1e6)
    assert stamp.quality == fleet_pb2.CLOCK_FLOOR


def test_numbers_are_never_given_twice_after_all_rows_are_gone(
    tmp_path: Path, outbox: Outbox
) -> None:
    outbox.append([("sample", b"x")] * 3)
    assert outbox.acknowledge(ack(outbox, "sample", 3))
    assert outbox.floor("sample") == 4
    first_id = outbox.outbox_id
    outbox.close()
    again = Outbox.open(tmp_path / "outbox.db")
    assert again.outbox_id == first_id
    assert again.append([("sample", b"y")]) == [4]
    again.close()


def test_an_ack_deletes_what_is_contiguous_and_the_ranges_beyond(outbox: Outbox) -> None:
    outbox.append([("sample", b"x")] * 10)
    assert outbox.acknowledge(ack(outbox, "sample", 3, [(5, 6), (9, 9)]))
    assert seqs(outbox, "sample") == [4, 7, 8, 10]
    assert outbox.floor("sample") == 4
    counts = outbox.counts()["sample"]
    assert (counts.pending, counts.appended, counts.acknowledged, counts.dropped) == (4, 10, 6, 0)


def test_an_ack_for_another_outbox_deletes_nothing(outbox: Outbox) -> None:
    outbox.append([("sample", b"x")])
    foreign = ack(outbox, "sample", 1)
    foreign.outbox_id = "another"
    assert not outbox.acknowledge(foreign)
    assert seqs(outbox, "sample") == [1]


def test_a_replayed_counter_is_refused_also_after_a_restart(tmp_path: Path, outbox: Outbox) -> None:
    outbox.append([("sample", b"x")] * 3)
    assert outbox.acknowledge(ack(outbox, "sample", 1), counter=7)
    assert not outbox.acknowledge(ack(outbox, "sample", 2), counter=7)
    outbox.close()
    again = Outbox.open(tmp_path / "outbox.db")
    assert not again.acknowledge(ack(again, "sample", 3), counter=6)
    assert seqs(again, "sample") == [2, 3]
    assert again.acknowledge(ack(again, "sample", 3), counter=8)
    again.close()


@pytest.mark.parametrize(
    ("stream", "contiguous_to", "ranges"),
    [
        ("nonsense", 1, []),
        ("sample", 5, [(4, 6)]),
        ("sample", 0, [(6, 5)]),
        ("sample", 0, [(5, 6), (6, 7)]),
        ("sample", 2**63, []),
        ("sample", 0, [(n * 2, n * 2) for n in range(1, 66)]),
    ],
)
def test_an_impossible_ack_is_corrupt_and_deletes_nothing(
    outbox: Outbox, stream: str, contiguous_to: int, ranges: list[tuple[int, int]]
) -> None:
    outbox.append([("sample", b"x")] * 8)
    with pytest.raises(Corrupt):
        outbox.acknowledge(ack(outbox, stream, contiguous_to, ranges))
    assert len(seqs(outbox, "sample")) == 8


def test_an_ack_beyond_what_was_given_skips_those_numbers_and_says_so(outbox: Outbox) -> None:
    outbox.append([("sample", b"x")] * 2)
    assert outbox.acknowledge(ack(outbox, "sample", 50))
    assert outbox.append([("sample", b"y")]) == [51]
    assert [e.kind for e in events(outbox)] == ["rewound"]


def test_a_full_stream_drops_its_oldest_counts_them_and_says_so_once_a_minute(
    tmp_path: Path, clock: ManualClock
) -> None:
    outbox = Outbox.open(tmp_path / "o.db", OutboxConfig(sample=SMALL), clock=clock)
    for _ in range(20):
        outbox.append([("sample", bytes(20_000))])
    counts = outbox.counts()["sample"]
    assert counts.pending_bytes <= SMALL.max_bytes
    assert counts.dropped == 20 - counts.pending == 14
    assert outbox.floor("sample") == 15
    assert events(outbox) == []
    clock.advance(61)
    outbox.append([("sample", b"")])
    assert [(e.kind, dict(e.details)) for e in events(outbox)] == [
        ("dropped", {"stream": "sample", "rows": "14", "rows_in_all": "14"})
    ]
    outbox.close()


def test_the_least_important_stream_gives_way_first(tmp_path: Path, clock: ManualClock) -> None:
    config = OutboxConfig(
        alarm=LARGE, feedback=LARGE, summary=LARGE, sample=LARGE, event=LARGE, max_bytes=200_000
    )
    outbox = Outbox.open(tmp_path / "o.db", config, clock=clock)
    for stream in ("event", "sample", "alarm"):
        outbox.append([(stream, bytes(30_000))] * 2)
    outbox.append([("alarm", bytes(30_000))] * 3)
    assert len(seqs(outbox, "alarm")) == 5
    assert (len(seqs(outbox, "event")), len(seqs(outbox, "sample"))) == (0, 1)
    assert seqs(outbox, "sample") == [2]
    outbox.close()


def test_old_rows_are_dropped_by_the_clock_that_ran_all_the_time(
    tmp_path: Path, clock: ManualClock
) -> None:
    outbox = Outbox.open(tmp_path / "o.db", OutboxConfig(sample=SMALL), clock=clock)
    outbox.append([("sample", b"old")])
    clock.advance(90)
    outbox.append([("sample", b"new")])
    clock.advance(61)
    outbox.append([("summary", b"x")])
    assert [r.body for r in outbox.pending("sample")] == [b"new"]
    outbox.close()


def test_a_wall_clock_that_jumps_from_1970_ages_nothing() -> None:
    clock = ManualClock(datetime(1970, 1, 1, tzinfo=UTC))
    before = DeviceTime(clock, boot="first").stamp()
    assert before.quality == fleet_pb2.CLOCK_UNSET
    today = ManualClock(datetime(2026, 6, 1, tzinfo=UTC))
    today.advance(5)
    later = DeviceTime(today, boot="second")
    assert later.stamp().quality == fleet_pb2.CLOCK_FLOOR
    assert later.age_s(before) == 0
    assert DeviceTime(today, boot="first").age_s(before) == 5


def test_age_over_a_reboot_is_by_wall_clocks_that_were_set() -> None:
    clock = ManualClock(datetime(2026, 6, 1, tzinfo=UTC))
    before = DeviceTime(clock, boot="first").stamp()
    clock.advance(3600)
    assert DeviceTime(clock, boot="second").age_s(before) == 3600


def test_hub_time_confirms_the_clock_and_raises_the_floor_for_ever(
    tmp_path: Path, outbox: Outbox
) -> None:
    word = ack(outbox, "sample")
    word.hub_time_us = outbox.time.wall_us() + 1_000_000
    was_confirmed = outbox.time.is_confirmed
    assert outbox.acknowledge(word)
    assert (was_confirmed, outbox.time.is_confirmed) == (False, True)
    floor_us = outbox.time.floor_us
    outbox.close()
    again = Outbox.open(tmp_path / "outbox.db")
    assert again.time.floor_us == floor_us
    assert not again.time.is_confirmed
    again.close()


def test_bad_rows_are_refused_whole(outbox: Outbox) -> None:
    with pytest.raises(InvalidInput, match="no stream 'metrics'"):
        outbox.append([("sample", b"x"), ("metrics", b"x")])
    with pytest.raises(InvalidInput, match="at most 64512"):
        outbox.append([("sample", b"x"), ("sample", bytes(MAX_BODY_BYTES + 1))])
    assert outbox.counts()["sample"].appended == 0


def test_another_room_commits_together_with_its_rows_or_not_at_all(outbox: Outbox) -> None:
    outbox.database.migrate("room", ["CREATE TABLE mine (n INTEGER)"])
    with outbox.transaction() as connection:
        connection.execute("INSERT INTO mine VALUES (1)")
        outbox.append([("event", b"")])

    def change_and_fail() -> None:
        with outbox.transaction() as connection:
            connection.execute("INSERT INTO mine VALUES (2)")
            outbox.append([("event", b"")])
            raise Conflict("changed my mind")

    with pytest.raises(Conflict):
        change_and_fail()
    with outbox.database.reading() as connection:
        assert connection.execute("SELECT n FROM mine").fetchall() == [(1,)]
    assert seqs(outbox, "event") == [1]
    assert outbox.append([("event", b"")]) == [2]


def test_listeners_hear_of_a_commit_after_it(outbox: Outbox) -> None:
    heard: list[int] = []
    outbox.on_commit(lambda: heard.append(len(seqs(outbox, "event"))))
    with outbox.transaction():
        outbox.append([("event", b"")])
        before_commit = list(heard)
    assert (before_commit, heard) == ([], [1])


def test_threads_get_consecutive_numbers(outbox: Outbox) -> None:
    def write() -> None:
        for _ in range(20):
            outbox.append([("sample", b"x"), ("summary", b"y")])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seqs(outbox, "sample") == list(range(1, 81)) == seqs(outbox, "summary")


def test_the_file_is_private_and_flushed_at_each_commit(tmp_path: Path, outbox: Outbox) -> None:
    outbox.append([("sample", b"x")])
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with outbox.database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_corrupt_file_is_set_aside_and_the_device_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox.open(path)
    outbox.append([("sample", bytes(5000))] * 20)
    first_id = outbox.outbox_id
    outbox.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    again = Outbox.open(path)
    assert again.outbox_id != first_id
    assert seqs(again, "sample") == []
    assert [e.kind for e in events(again)] == ["outbox_replaced"]
    assert (tmp_path / "outbox.db.corrupt").stat().st_size == size
    again.close()
    path.write_bytes(b"not a database at all" * 500)
    third = Outbox.open(path)
    assert [e.kind for e in events(third)] == ["outbox_replaced"]
    third.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        Outbox.open(tmp_path / "nowhere" / "outbox.db")


appends = st.tuples(st.just("append"), st.lists(st.sampled_from(STREAMS), max_size=5))
acks = st.tuples(
    st.just("ack"), st.sampled_from(STREAMS), st.integers(0, 12), st.sets(st.integers(1, 15))
)
steps = st.lists(st.one_of(appends, acks, st.just(("reopen",))), max_size=25)


@settings(max_examples=30, deadline=None)
@given(steps=steps)
def test_what_is_held_is_what_was_added_and_not_acknowledged(
    steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o.db"
    outbox = Outbox.open(path)
    held: dict[str, dict[int, bytes]] = {s: {} for s in STREAMS}
    given_numbers = dict.fromkeys(STREAMS, 0)
    serial = 0
    for step in steps:
        match step:
            case ("append", list(streams)):
                rows = []
                for stream in streams:
                    serial += 1
                    rows.append((stream, b"%d" % serial))
                    given_numbers[stream] += 1
                    held[stream][given_numbers[stream]] = b"%d" % serial
                outbox.append(rows)
            case ("ack", str(stream), int(upto), set(extra)):
                upto = min(upto, given_numbers[stream])
                spans = [(n, n) for n in sorted(extra) if upto < n <= given_numbers[stream]]
                outbox.acknowledge(ack(outbox, stream, upto, spans))
                gone = set(range(1, upto + 1)) | {n for n, _ in spans}
                held[stream] = {n: b for n, b in held[stream].items() if n not in gone}
            case _:
                outbox.close()
                outbox = Outbox.open(path)
        for stream in STREAMS:
            assert {r.seq: r.body for r in outbox.pending(stream)} == held[stream]
            assert outbox.floor(stream) == min(held[stream], default=given_numbers[stream] + 1)
            counts = outbox.counts()[stream]
            assert counts.appended == counts.pending + counts.acknowledged + counts.dropped
    outbox.close()
