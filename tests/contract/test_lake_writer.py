"""What the lake leans on of deltalake: fencing, schema growth, a log that says what is stored."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from fogline.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from fogline_hub.lake import Lake, Source, State, TableWriter
from fogline_hub.lake.delta import DeltaLog
from fogline_hub.lake.note import make_note
from fogline_hub.lake.tables import PARTITION, TIMESTAMP

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOURCE = Source("device-a", "outbox-1", "event")


def rows(*seqs: int) -> pa.Table:
    n = len(seqs)
    return pa.table(
        {
            "device": ["device-a"] * n,
            "outbox_id": ["outbox-1"] * n,
            "seq": pa.array(seqs, pa.int64()),
            "received_at": pa.array([NOW] * n, TIMESTAMP),
            PARTITION: [NOW.date()] * n,
            "stream": ["event"] * n,
            "kind": ["tick"] * n,
            "details": ["{}"] * n,
        }
    )


def accepted(*seqs: int) -> State:
    state = State()
    for seq in seqs:
        state.accepted.add(SOURCE, seq)
    return state


def append(writer: TableWriter, *seqs: int) -> int:
    return writer.append(rows(*seqs), accepted(*seqs))


def stored(lake: Lake) -> list[int]:
    return sorted(lake.table("events").read(["seq"])["seq"].to_pylist())


def ranges(lake: Lake) -> list[tuple[int, int]]:
    return list(lake.table("events").accepted().accepted.of(SOURCE))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_table_that_nobody_wrote_reads_as_empty(lake: Lake) -> None:
    table = lake.table("samples-rain")
    assert table.version() is None
    assert table.read(["seq", "event_time"]).num_rows == 0
    assert len(table.accepted().accepted) == 0


def test_names_that_are_no_tables_are_refused(lake: Lake) -> None:
    for name in ("", "..", "verdicts", "samples-", "samples-../x", "samples-a/b"):
        with pytest.raises((NotFound, InvalidInput)):
            lake.table(name)
        with pytest.raises((NotFound, InvalidInput)):
            lake.writer(name)


@pytest.mark.parametrize("full_every", [1, 2, 5, 64])
def test_accepted_ranges_are_rebuilt_from_the_log(lake: Lake, full_every: int) -> None:
    writer = lake.writer("events", full_every=full_every)
    for seq in (1, 2, 3, 7, 8, 20):
        append(writer, seq)
    assert ranges(lake) == [(1, 3), (7, 8), (20, 20)]
    assert lake.writer("events").state == writer.state


def test_a_rebuild_reads_a_bounded_part_of_the_log(lake: Lake) -> None:
    writer = lake.writer("events", full_every=10)
    for seq in range(1, 96):
        append(writer, seq)
    log = DeltaLog(lake._root / "events")
    read = []
    for commit in log.commits():
        read.append(commit)
        if '"full":true' in commit["fogline"]:
            break
    assert len(read) <= 10
    assert ranges(lake) == [(1, 95)]


def test_of_two_writers_the_older_one_loses_and_nothing_doubles(lake: Lake) -> None:
    old = lake.writer("events")
    append(old, 1)
    new = lake.writer("events")
    with pytest.raises(Conflict, match="another worker has taken it over"):
        append(old, 2)
    append(new, 2)
    with pytest.raises(Conflict, match="another worker"):
        append(old, 3)
    assert stored(lake) == [1, 2]
    assert ranges(lake) == [(1, 2)]


def test_two_processes_that_append_at_once_never_both_succeed(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from fogline.errors import Conflict
from fogline_hub.lake import Lake
from tests.contract.test_lake_writer import append
lake = Lake(Path(sys.argv[1]))
done = 0
try:
    writer = lake.writer("events")
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(50):
        append(writer, int(sys.argv[2]) + i)
        done += 1
except Conflict:
    pass
print(done)
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "lake"), str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for start in (1000, 2000)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    done = [int(child.communicate(timeout=60)[0]) for child in children]
    found = stored(Lake(tmp_path / "lake"))
    expected = [s + i for s, n in zip((1000, 2000), done, strict=True) for i in range(n)]
    assert found == sorted(expected)
    assert 50 in done
    assert sum(done) < 100


def test_commits_of_maintenance_are_caught_up_with(lake: Lake) -> None:
    writer = lake.writer("events")
    append(writer, 1)
    append(writer, 2)
    DeltaTable(lake._root / "events").optimize.compact()
    append(writer, 3)
    assert stored(lake) == [1, 2, 3]
    assert ranges(lake) == [(1, 3)]


def test_a_commit_whose_answer_was_lost_is_not_repeated(lake: Lake) -> None:
    writer = lake.writer("events")
    append(writer, 1)
    # The commit happens behind the writer's back, exactly as it would have made it.
    note = make_note(writer._writer, writer._serial + 1, accepted(2), full=False)
    DeltaLog(lake._root / "events").append(rows(2), {"fogline": note})
    append(writer, 2)
    append(writer, 3)
    assert stored(lake) == [1, 2, 3]


def test_a_value_of_another_type_is_refused_and_not_cast(lake: Lake) -> None:
    writer = lake.writer("events")
    wrong = rows(1).set_column(2, "seq", pa.array([0.5]))
    with pytest.raises(InvalidInput, match="column seq is double and the table holds int64"):
        writer.append(wrong, accepted(1))
    append(writer, 1)
    assert stored(lake) == [1]


def test_new_columns_are_null_in_older_rows(lake: Lake) -> None:
    writer = lake.writer("samples-rain")
    writer.append(rows(1).select(["device", "outbox_id", "seq", PARTITION]), accepted(1))
    wider = rows(2).select(["device", "outbox_id", "seq", PARTITION])
    writer.append(wider.append_column("in.x", pa.array([0.5])), accepted(2))
    table = lake.table("samples-rain").read(["seq", "in.x"]).sort_by("seq")
    assert table["in.x"].to_pylist() == [None, 0.5]
    assert lake.sampled_models() == ("rain",)


def test_reading_projects_filters_and_names_unknown_columns(lake: Lake) -> None:
    append(lake.writer("events"), 1, 2, 3)
    table = lake.table("events")
    assert table.read(["kind", "seq"], pc.field("seq") > 1).schema.names == ["kind", "seq"]
    assert table.read(["seq"], pc.field("seq") > 1).num_rows == 2
    with pytest.raises(InvalidInput, match="no column nonsense"):
        table.read(["nonsense"])


def test_a_log_that_was_cut_off_is_told_and_not_taken_for_empty(lake: Lake) -> None:
    writer = lake.writer("events", full_every=4)
    for seq in range(1, 7):
        append(writer, seq)
    folder = lake._root / "events" / "_delta_log"
    DeltaTable(lake._root / "events").create_checkpoint()
    for entry in sorted(folder.glob("*.json"))[:-1]:
        entry.unlink()
    with pytest.raises(Corrupt, match="could be stored twice"):
        lake.writer("events")


def test_rows_are_partitioned_by_the_day_they_came(lake: Lake) -> None:
    append(lake.writer("events"), 1)
    assert (lake._root / "events" / "received_day=2026-05-01").is_dir()


def test_deltalake_alone_would_let_two_writers_both_succeed(tmp_path: Path) -> None:
    """Why the writer commits without retries, and does not lean on transaction ids."""
    path = tmp_path / "plain"
    write_deltalake(path, pa.table({"n": [0]}))
    one, other = DeltaTable(path), DeltaTable(path)
    again = CommitProperties(app_transactions=[Transaction("app", 1)])
    write_deltalake(one, pa.table({"n": [1]}), mode="append", commit_properties=again)
    write_deltalake(other, pa.table({"n": [2]}), mode="append")  # moved on top, without a word
    fresh = DeltaTable(path)
    write_deltalake(fresh, pa.table({"n": [3]}), mode="append", commit_properties=again)
    assert sorted(DeltaTable(path).to_pyarrow_table()["n"].to_pylist()) == [0, 1, 2, 3]


def test_deltalake_alone_would_cast_fractions_to_integers(tmp_path: Path) -> None:
    """Why the types of an append are checked here."""
    path = tmp_path / "plain"
    write_deltalake(path, pa.table({"n": [1]}))
    write_deltalake(path, pa.table({"n": [0.5]}), mode="append", schema_mode="merge")
    assert sorted(DeltaTable(path).to_pyarrow_table()["n"].to_pylist()) == [0, 1]


def test_a_damaged_or_missing_file_is_told_as_corrupt(lake: Lake) -> None:
    append(lake.writer("events"), 1)
    (file,) = (lake._root / "events").glob("received_day=*/*.parquet")
    file.write_bytes(b"not parquet")
    with pytest.raises(Corrupt, match="lake table events cannot be read"):
        lake.table("events").read(["seq"])
    file.unlink()
    with pytest.raises(Corrupt, match="lake table events cannot be read"):
        lake.table("events").read(["seq"])


def test_a_full_disk_or_lost_folder_is_told_as_unavailable(lake: Lake) -> None:
    writer = lake.writer("events")
    folder = lake._root / "events"
    folder.rename(folder.with_name("gone"))
    folder.write_text("in the way")
    with pytest.raises(Unavailable):
        append(writer, 1)


def test_folders_of_others_in_the_lake_are_left_alone(lake: Lake) -> None:
    append(lake.writer("events"), 1)
    DeltaTable.create(lake._root / "somebody's", rows().schema)
    (lake._root / "feedback").mkdir()
    assert lake.names() == ("events",)
