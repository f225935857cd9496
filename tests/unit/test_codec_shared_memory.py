"""Regions of shared memory, and files that change under them."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.errors import Conflict, Exhausted, Forbidden, InvalidInput, NotFound
from fogline_edge.serving.shared_memory import Regions, SharedMemoryConfig

UID = os.geteuid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    return tmp_path


@pytest.fixture
def regions(folder: Path) -> Iterator[Regions]:
    made = Regions(SharedMemoryConfig(max_regions=3, max_bytes=150), folder=folder)
    yield made
    made.unregister()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_region_is_read_and_written_in_its_own_bounds(folder: Path, regions: Regions) -> None:
    regions.register("r", "/file", 10, 20, UID)
    assert regions.read("r", 5, 3) == bytes((15, 16, 17))
    regions.write("r", 18, b"ab")
    assert (folder / "file").read_bytes()[27:31] == b"\x1bab\x1e"
    for offset, size in ((0, 21), (20, 1), (-1, 1), (0, -1), (2**70, 1)):
        with pytest.raises(InvalidInput, match="it has 20"):
            regions.read("r", offset, size)
    with pytest.raises(InvalidInput, match="it has 20"):
        regions.write("r", 19, b"ab")


def test_status_lists_what_is_registered(regions: Regions) -> None:
    regions.register("b", "file", 0, 10, UID)
    regions.register("a", "/file", 5, 10, None)
    assert [(r.name, r.key, r.offset, r.byte_size) for r in regions.status()] == [
        ("a", "/file", 5, 10),
        ("b", "file", 0, 10),
    ]
    assert [r.name for r in regions.status("b")] == ["b"]
    with pytest.raises(NotFound, match="'c'"):
        regions.status("c")


def test_unregistering_lets_the_files_go(regions: Regions) -> None:
    before = open_files()
    for name in ("a", "b", "c"):
        regions.register(name, "file", 0, 10, UID)
    regions.unregister("a")
    regions.unregister("nothing")
    assert [r.name for r in regions.status()] == ["b", "c"]
    regions.unregister()
    assert open_files() == before


def test_a_refused_region_leaves_no_file_open(folder: Path, regions: Regions) -> None:
    before = open_files()
    for size, uid in ((101, UID), (100, UID + 1)):
        with pytest.raises((InvalidInput, Forbidden)):
            regions.register("r", "file", 0, size, uid)
    assert open_files() == before


@pytest.mark.parametrize(
    "key",
    ["", "/", "..", "/..", ".", "../file", "/a/file", "//file", "fi\0le", "x" * 300, "\ud800"],
)
def test_a_key_outside_of_the_folder_is_refused(regions: Regions, key: str) -> None:
    with pytest.raises(InvalidInput):
        regions.register("r", key, 0, 1, UID)


def test_what_is_no_regular_file_is_refused(folder: Path, regions: Regions) -> None:
    (folder / "link").symlink_to(folder / "file")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    for key in ("link", "folder", "pipe"):
        with pytest.raises(InvalidInput):
            regions.register("r", key, 0, 1, UID)
    with pytest.raises(NotFound, match="no shared memory 'other'"):
        regions.register("r", "other", 0, 1, UID)


def test_another_users_file_is_refused(regions: Regions) -> None:
    with pytest.raises(Forbidden, match="another user's"):
        regions.register("r", "file", 0, 1, UID + 1)


@pytest.mark.parametrize(("offset", "size"), [(0, 101), (99, 2), (-1, 2), (0, 0), (2**63 - 1, 9)])
def test_a_region_that_is_not_in_its_file_is_refused(
    regions: Regions, offset: int, size: int
) -> None:
    with pytest.raises(InvalidInput):
        regions.register("r", "file", offset, size, UID)


def test_regions_are_bounded_in_number_and_bytes(regions: Regions) -> None:
    regions.register("a", "file", 0, 100, UID)
    with pytest.raises(Conflict, match="registered as 'a'"):
        regions.register("a", "file", 0, 1, UID)
    with pytest.raises(Exhausted, match="200 bytes together, at most 150"):
        regions.register("b", "file", 0, 100, UID)
    regions.register("b", "file", 0, 1, UID)
    regions.register("c", "file", 0, 1, UID)
    with pytest.raises(Exhausted, match="3 regions"):
        regions.register("d", "file", 0, 1, UID)


def test_a_file_that_shrinks_is_an_error_and_not_a_signal(folder: Path, regions: Regions) -> None:
    regions.register("r", "file", 0, 100, UID)
    os.truncate(folder / "file", 40)
    assert len(regions.read("r", 0, 40)) == 40
    with pytest.raises(InvalidInput, match="has become shorter"):
        regions.read("r", 30, 20)
    with pytest.raises(InvalidInput, match="has become shorter"):
        regions.write("r", 30, bytes(20))
    assert (folder / "file").stat().st_size == 40


def test_a_copy_outlives_its_region(folder: Path, regions: Regions) -> None:
    """No copy reads from a descriptor that was closed, or given to another file."""
    failures: list[BaseException] = []

    def use() -> None:
        for _ in range(300):
            try:
                if regions.read("r", 0, 100) != bytes(range(100)):
                    failures.append(AssertionError("another file's bytes"))
            except NotFound:
                continue
            except OSError as e:
                failures.append(e)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        regions.register("r", "file", 0, 100, UID)
        regions.unregister("r")
        (folder / "noise").write_bytes(b"x" * 200)
    for thread in threads:
        thread.join()
    assert not failures
