"""Fixtures of the hub's rooms: a real catalogue in a temporary folder, and a clock that stands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.clock import ManualClock
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Blobs, Registry


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue.open(tmp_path / "hub" / "catalogue.db")
    yield opened
    opened.close()


@pytest.fixture
def registry(clock: ManualClock) -> Registry:
    return Registry(clock)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")
