from datetime import timedelta
from itertools import pairwise

import pytest

from fogline.clock import ManualClock
from fogline.errors import InvalidInput
from fogline.records import canonical_json
from fogline_hub import audit
from fogline_hub.audit.audit import GENESIS, row_hash
from fogline_hub.catalogue import Catalogue
from tests.hub_rooms import catalogue, clock

__all__ = ["catalogue", "clock"]


def test_rows_are_numbered_and_chained_by_hash(catalogue: Catalogue, clock: ManualClock) -> None:
    for n in range(3):
        clock.advance(1.5)
        with catalogue.transaction() as connection:
            audit.record(connection, "operator:a", "x.made", f"x{n}", {"n": n}, at=clock.now())
    with catalogue.reading() as connection:
        rows = audit.list(connection)
        assert audit.last(connection) == (3, rows[-1].hash)
    assert [r.seq for r in rows] == [1, 2, 3]
    assert rows[0].previous == GENESIS
    assert all(a.hash == b.previous for a, b in pairwise(rows))
    assert rows[1].at - rows[0].at == timedelta(seconds=1.5)
    for r in rows:
        details = canonical_json(r.details)
        assert r.hash == row_hash(r.seq, r.at, r.actor, r.action, r.subject, details, r.previous)


def test_a_row_goes_with_its_callers_transaction(catalogue: Catalogue, clock: ManualClock) -> None:
    def fail() -> None:
        with catalogue.transaction() as connection:
            audit.record(connection, "operator:a", "x.made", "x", at=clock.now())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with catalogue.reading() as connection:
        assert audit.list(connection) == ()
        assert audit.last(connection) == (0, GENESIS)


def test_listing_pages_in_both_directions(catalogue: Catalogue, clock: ManualClock) -> None:
    with catalogue.transaction() as connection:
        for n in range(5):
            audit.record(connection, "operator:a", "x.made", f"x{n}", at=clock.now())
    with catalogue.reading() as connection:
        assert [r.seq for r in audit.list(connection, after=2, limit=2)] == [3, 4]
        newest = audit.list(connection, limit=2, newest_first=True)
        assert [r.seq for r in newest] == [5, 4]


def test_details_beyond_the_bound_are_refused(catalogue: Catalogue, clock: ManualClock) -> None:
    with pytest.raises(InvalidInput, match="details"), catalogue.transaction() as connection:
        audit.record(connection, "a", "x", "y", {"k": "v" * 70_000}, at=clock.now())
