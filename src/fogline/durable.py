"""Small files that are either the old or the new one after any crash, never half of either.

Written beside the target under a temporary name, flushed to the disk, renamed over it; then the
folder is flushed, so that the rename itself outlives a power cut.
"""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replaces or makes `path`, on the disk when this returns.

    One writer a path: the temporary name is derived from it, so that leftovers never pile up.

    Raises:
        OSError: the disk is full, read-only or failed; the old file then stands.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Makes renames, links and removals in `folder` outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private_folder(folder: Path) -> Path:
    """Makes `folder` (and its parents) readable by this user alone; an existing one is narrowed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder
