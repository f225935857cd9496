"""Finished parts of searches, by the digest of all that they depend on.

An entry is a folder that is renamed into place whole, so that a search that was killed at any point
finds entries or none, and goes on. The folder is bounded: the oldest entries go first.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fogline.errors import FoglineError
from fogline.records import Record, canonical_json, decode_json

RESULT = "kept.json"
MAX_CACHE_BYTES = 4 * 2**30
"""Of all entries together, after a search."""

_WORK = "work-"

R = TypeVar("R", bound=Record)


def default_folder() -> Path:
    """`fogline/optimize` in the user's folder for caches (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "fogline/optimize"


class Cache:
    """Entries below one folder, which is made when it is first written to."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A new, empty folder beside the entries; what is not kept of it is thrown away."""
        made = self.folder / f"{_WORK}{secrets.token_hex(8)}"
        made.mkdir(parents=True)
        try:
            yield made.resolve()
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def keep(self, workplace: Path, key: str, result: Record) -> Path:
        """Makes a filled workplace the entry of `key`."""
        (workplace / RESULT).write_bytes(canonical_json(result))
        place = self.folder / key
        if place.exists():
            shutil.rmtree(place)
        workplace.rename(place)
        return place

    def find(self, key: str, kind: type[R]) -> tuple[R, Path] | None:
        """The entry of `key` and its folder; None where there is none that can be read."""
        place = self.folder / key
        try:
            result = decode_json((place / RESULT).read_bytes(), kind, key)
        except (OSError, FoglineError):
            return None
        with suppress(OSError):
            os.utime(place)
        return result, place

    def prune(self) -> None:
        """Removes the oldest entries until the rest is within bounds."""
        if not self.folder.is_dir():
            return
        entries = sorted(
            (p for p in self.folder.iterdir() if p.is_dir()), key=lambda p: -p.stat().st_mtime
        )
        total = 0
        for place in entries:
            total += sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
            if total > self._max_bytes:
                shutil.rmtree(place, ignore_errors=True)


def key_of(*parts: str) -> str:
    """One name for all that a result depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
