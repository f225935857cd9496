from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from fogline.errors import Exhausted, InvalidInput, NotFound
from fogline_hub.registry import BlobBounds, Blobs
from tests.hub_rooms import blobs

__all__ = ["blobs"]

DATA = bytes(range(256)) * 10
DIGEST = sha256(DATA).hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_blob_stands_under_its_digest_and_reads_back(blobs: Blobs, tmp_path: Path) -> None:
    for _ in range(2):
        blobs.put(DIGEST, DATA)
    assert files(tmp_path) == [DIGEST]
    assert blobs.size(DIGEST) == len(DATA)
    assert blobs.read(DIGEST, 10_000) == DATA


def test_bytes_of_another_digest_leave_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="have digest"):
        blobs.put(DIGEST, DATA + b"x")
    assert files(tmp_path) == []


def test_a_blob_beyond_the_bound_leaves_nothing(tmp_path: Path) -> None:
    small = Blobs(tmp_path, BlobBounds(max_blob_bytes=100))
    with pytest.raises(Exhausted, match="100 bytes"):
        small.put(DIGEST, DATA)
    assert files(tmp_path) == []
    assert small.size(DIGEST) is None


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_digest_is_ever_a_path(blobs: Blobs, bad: str) -> None:
    with pytest.raises(InvalidInput, match="SHA-256"):
        blobs.path(bad)


def test_what_is_not_held_is_named(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match=DIGEST):
        blobs.open(DIGEST)
    assert blobs.missing([DIGEST]) == (DIGEST,)


def test_a_blob_too_long_to_read_whole_is_refused(blobs: Blobs) -> None:
    blobs.put(DIGEST, DATA)
    with pytest.raises(InvalidInput, match="longer"):
        blobs.read(DIGEST, 10)


def test_left_over_parts_are_swept_once_they_are_old(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put(DIGEST, DATA)
    blobs.writing(DIGEST).write(b"killed here")
    now = datetime.now(UTC)
    assert blobs.sweep(now) == 0
    assert blobs.sweep(now + timedelta(days=2)) == 1
    assert files(tmp_path) == [DIGEST]
