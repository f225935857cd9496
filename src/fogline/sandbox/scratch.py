"""The folder that a child in a room may write: what it takes, and its removal.

What a stranger's code left there is looked at without following links, in bounded steps, and
without recursion: folders in it may be as deep as it pleased.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RESERVE_BYTES = 512 * 2**20
"""What has to stay free on the disk, or half of what was free at the start where that is less."""
_BLOCK = 512


class Scratch:
    """A folder with a bound of disk and of entries."""

    def __init__(self, folder: Path, limit_bytes: int, limit_entries: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._limit_entries = limit_entries
        self._reserve = min(RESERVE_BYTES, shutil.disk_usage(folder).free // 2)

    def is_over(self) -> bool:
        """True when it holds too much, or the disk is nearly full by whatever it hides."""
        if shutil.disk_usage(self._folder).free < self._reserve:
            return True
        used, count, todo = 0, 0, [str(self._folder)]
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        count += 1
                        used += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                        if used > self._limit_bytes or count > self._limit_entries:
                            return True
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
            except FileNotFoundError:  # it went while we looked
                continue
            except OSError:  # unreadable, or deeper than a path can name: nothing that we asked for
                return True
        return False


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder that only this user can reach, resolved; removed with whatever is in it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        yield folder
    finally:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Removes a folder and all in it, at whatever depth, once nothing writes there any more.

    Folders below are moved up to the top before they are emptied, so no path gets longer than two
    names; `shutil.rmtree` recurses, and ends at a thousand.

    Raises:
        OSError: a file is not this user's to remove.
    """
    moved = 0
    while True:
        with os.scandir(folder) as entries:
            found = list(entries)
        if not found:
            break
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
                continue
            Path(entry.path).chmod(0o700)
            with os.scandir(entry.path) as inner:
                below = list(inner)
            for one in below:
                if one.is_dir(follow_symlinks=False):
                    Path(one.path).chmod(0o700)
                    moved += 1
                    Path(one.path).rename(_free_name(folder, moved))
                else:
                    Path(one.path).unlink()
            Path(entry.path).rmdir()
    folder.rmdir()


def _free_name(folder: Path, number: int) -> Path:
    path = folder / f".moved-{number}"
    while os.path.lexists(path):
        path = path.with_name(path.name + "-")
    return path
