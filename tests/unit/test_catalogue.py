import sqlite3
import threading
from pathlib import Path

import pytest

from fogline.errors import Conflict, Corrupt, Unavailable, Unsupported
from fogline_hub.catalogue import Catalogue, CatalogueBounds, sql
from tests.hub_rooms import catalogue

__all__ = ["catalogue"]

ITEMS = sql.Table(
    "test_items",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("parent", sql.ForeignKey("test_items.id")),
    sql.Column("at", sql.UtcTime),
)


def count(opened: Catalogue) -> int:
    with opened.reading() as connection:
        return connection.execute(sql.select(sql.func.count()).select_from(ITEMS)).scalar_one()


def test_a_block_that_ends_well_commits_and_one_that_raises_leaves_nothing(
    catalogue: Catalogue,
) -> None:
    with catalogue.transaction() as connection:
        connection.execute(sql.insert(ITEMS).values(id=1))

    def fail() -> None:
        with catalogue.transaction() as connection:
            connection.execute(sql.insert(ITEMS).values(id=2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert count(catalogue) == 1


def test_broken_rules_are_conflicts(catalogue: Catalogue) -> None:
    with catalogue.transaction() as connection:
        connection.execute(sql.insert(ITEMS).values(id=1))
    with pytest.raises(Conflict, match="UNIQUE"), catalogue.transaction() as connection:
        connection.execute(sql.insert(ITEMS).values(id=1))
    with pytest.raises(Conflict, match="FOREIGN"), catalogue.transaction() as connection:
        connection.execute(sql.insert(ITEMS).values(id=2, parent=77))


def test_the_file_is_private_and_every_commit_is_synced(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    path = tmp_path / "hub" / "catalogue.db"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    with catalogue.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_writer_that_another_process_keeps_waiting_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    opened = Catalogue.open(path, CatalogueBounds(busy_timeout_ms=50))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable, match="another process"), opened.transaction():
            pass
        assert count(opened) == 0  # readers do not wait
    finally:
        other.close()
        opened.close()


def test_a_nested_transaction_gives_up(tmp_path: Path) -> None:
    opened = Catalogue.open(tmp_path / "c.db", CatalogueBounds(busy_timeout_ms=50))
    with (
        opened.transaction(),
        pytest.raises(Unavailable, match="other writers"),
        opened.transaction(),
    ):
        pass
    opened.close()


def test_threads_and_catalogues_on_one_file_lose_no_write(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    opened = [Catalogue.open(path) for _ in range(2)]

    def write(worker: int) -> None:
        for i in range(10):
            with opened[worker % 2].transaction() as connection:
                connection.execute(sql.insert(ITEMS).values(id=worker * 100 + i))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(opened[0]) == 80
    for each in opened:
        each.close()


def test_a_catalogue_of_a_later_build_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    Catalogue.open(path).close()
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE catalogue_schema SET version = 99")
    other.close()
    with pytest.raises(Unsupported, match="schema 99"):
        Catalogue.open(path)


def test_a_file_that_is_no_catalogue_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"not a database, but long enough to be looked at " * 100)
    with pytest.raises(Corrupt, match="damaged"):
        Catalogue.open(path)


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "c.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be opened"):
        Catalogue.open(tmp_path / "c.db")
