"""When ingest commits and what its bounds do, on a real lake, with a clock that stands still."""

from pathlib import Path

import pytest

from fogline import topics
from fogline.clock import ManualClock
from fogline.errors import Conflict
from fogline.wire.auth import derive_key, seal
from fogline.wire.fleet_pb2 import Log
from fogline_hub.ingest import IngestConfig
from fogline_hub.ingest.counts import Tally
from fogline_hub.ingest.intake import Intake
from fogline_hub.ingest.received import KeyRing
from fogline_hub.ingest.shelf import Shelf
from fogline_hub.lake import Lake
from tests.ingest_hubs import event, samples

MASTER = bytes(32)
D = "device-a"


class Bench:
    """An intake on a lake of its own, and messages for it."""

    def __init__(self, folder: Path, config: IngestConfig) -> None:
        self.lake = Lake(folder / "lake")
        self.clock = ManualClock()
        self.tally = Tally()
        shelf = Shelf(self.lake, full_every=4, max_sample_tables=config.max_sample_tables)
        keys = KeyRing(lambda device: derive_key(MASTER, "up", device), 10)
        self.intake = Intake(shelf, keys, config, self.clock, self.tally)
        self.intake.open()

    def send(
        self, stream: str, seq: int, body: bytes, *, floor: int = 1, outbox: str = "o"
    ) -> None:
        topic = topics.up_log(D, stream)
        log = Log(outbox_id=outbox, stream=stream, seq=seq, floor=floor, body=body)
        key = derive_key(MASTER, "up", D)
        self.intake.handle(topic, seal(log, key=key, direction="up", topic=topic))

    def rows(self, table: str) -> int:
        return int(self.lake.table(table).read(["seq"]).num_rows)


def bench(folder: Path, **bounds: int) -> Bench:
    return Bench(folder, IngestConfig(**bounds))  # type: ignore[arg-type]


def test_a_message_after_a_quiet_time_is_committed_soon_and_the_next_waits(tmp_path: Path) -> None:
    b = bench(tmp_path)
    assert b.intake.wait_s() is None
    b.send("event", 1, event())
    assert b.intake.wait_s() == pytest.approx(0.05)
    b.clock.advance(0.05)
    assert b.intake.wait_s() == 0.0
    b.intake.commit()
    assert b.intake.wait_s() is None
    b.send("event", 2, event())
    assert b.intake.wait_s() == pytest.approx(2.0)
    b.clock.advance(1.5)
    assert b.intake.wait_s() == pytest.approx(0.5)


def test_a_full_batch_is_committed_at_once(tmp_path: Path) -> None:
    b = bench(tmp_path / "rows", batch_rows=4)
    b.send("sample", 1, samples(rows=3).SerializeToString())
    assert b.intake.wait_s() != 0.0
    b.send("sample", 2, samples(rows=3).SerializeToString())
    assert b.intake.wait_s() == 0.0
    b = bench(tmp_path / "bytes", batch_bytes=10)
    b.send("event", 1, event("a long enough kind"))
    assert b.intake.wait_s() == 0.0


def test_one_commit_a_table_holds_all_messages_of_a_batch(tmp_path: Path) -> None:
    b = bench(tmp_path)
    before = b.lake.table("events").version()
    assert before is not None
    for seq in range(1, 6):
        b.send("event", seq, event())
    b.intake.commit()
    assert b.lake.table("events").version() == before + 1
    assert b.rows("events") == 5
    acks = b.intake.due_acks()
    assert [(a.device, a.ack.contiguous_to) for a in acks] == [(D, 5)]
    assert b.intake.due_acks() == []


def test_a_duplicate_alone_is_acknowledged_without_a_commit(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.send("event", 1, event())
    b.intake.commit()
    b.intake.due_acks()
    version = b.lake.table("events").version()
    b.send("event", 1, event())
    b.intake.commit()
    assert b.lake.table("events").version() == version
    assert [a.ack.contiguous_to for a in b.intake.due_acks()] == [1]


def test_models_beyond_the_bound_are_set_aside(tmp_path: Path) -> None:
    b = bench(tmp_path, max_sample_tables=1)
    b.send("sample", 1, samples(model="one").SerializeToString())
    b.send("sample", 2, samples(model="two").SerializeToString())
    b.intake.commit()
    assert b.lake.sampled_models() == ("one",)
    assert b.rows("quarantine") == 1
    (due,) = b.intake.due_acks()
    assert due.ack.contiguous_to == 2
    assert "at most 1 models" in due.ack.quarantined[0].reason


def test_columns_beyond_the_bound_are_set_aside(tmp_path: Path) -> None:
    b = bench(tmp_path, max_columns=23)
    wide = samples()
    for i in range(10):
        wide.inputs.add(name=f"extra{i}", fp32=[0.0, 0.0])
    b.send("sample", 1, samples().SerializeToString())
    b.send("sample", 2, wide.SerializeToString())
    b.intake.commit()
    assert b.rows("samples-rain") == 2
    assert b.rows("quarantine") == 1


def test_quarantine_is_bounded_in_each_commit_and_the_rest_gets_no_ack(tmp_path: Path) -> None:
    b = bench(tmp_path, max_quarantined_per_commit=2)
    for seq in range(1, 5):
        b.send("sample", seq, b"\xff")
    b.intake.commit()
    (due,) = b.intake.due_acks()
    assert due.ack.contiguous_to == 2
    for seq in (3, 4):
        b.send("sample", seq, b"\xff", floor=3)
    b.intake.commit()
    (due,) = b.intake.due_acks()
    assert due.ack.contiguous_to == 4
    assert b.rows("quarantine") == 4


def test_what_a_bound_refuses_is_neither_stored_nor_acknowledged(tmp_path: Path) -> None:
    b = bench(tmp_path, max_beyond_floor=10, max_outboxes_per_device=1)
    b.send("event", 1, event())
    b.send("event", 11, event())
    b.send("event", 1, event(), outbox="another")
    b.intake.commit()
    assert b.rows("events") == 1
    (due,) = b.intake.due_acks()
    assert (due.ack.outbox_id, due.ack.contiguous_to, list(due.ack.ranges)) == ("o", 1, [])
    assert b.tally.snapshot().refused == 2


def test_a_table_that_another_process_took_ends_the_commit(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.lake.writer("events")
    b.send("event", 1, event())
    with pytest.raises(Conflict, match="taken it over"):
        b.intake.commit()
    assert b.rows("events") == 0


def test_after_a_failed_commit_the_lake_decides_what_is_stored(tmp_path: Path) -> None:
    b = bench(tmp_path)
    b.send("event", 1, event())
    b.send("sample", 1, samples().SerializeToString())
    b.intake.open()  # as after a commit whose outcome is unknown: nothing of it had happened
    assert b.intake.wait_s() is None
    b.send("event", 1, event())
    b.intake.commit()
    assert b.rows("events") == 1
    assert b.rows("samples-rain") == 0
    told = {a.ack.stream: a.ack.contiguous_to for a in b.intake.due_acks()}
    assert told == {"event": 1}
