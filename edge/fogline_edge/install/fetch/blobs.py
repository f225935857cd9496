"""Files by digest: resumed where they were cut, bounded, verified, and only then under their name.

A half-fetched file is `.part-<sha256>`; it is kept when the connection breaks, and removed when it
turns out to hold other bytes (a power cut can do that too). A file that stands under its digest is
whole, on the disk, and has that digest.
"""

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import BinaryIO

from fogline.backoff import Backoff
from fogline.durable import flush_folder
from fogline.errors import Corrupt, Unavailable, Untrusted
from fogline.trust import blob_url
from fogline_edge.install.fetch.messages import FetchBounds
from fogline_edge.install.fetch.origin import Answer, Origin

_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    sha256: str
    size_bytes: int


class BlobFetcher:
    """Fetches into one folder. One process at a time.

    Args:
        origin: The hub.
        folder: Where files go.
        bounds: Tries and waits.
        wait: Waits so many seconds between two tries.
        random: Jitter of the waits.
    """

    def __init__(
        self,
        origin: Origin,
        folder: Path,
        bounds: FetchBounds,
        *,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
    ) -> None:
        self._origin = origin
        self._folder = folder
        self._bounds = bounds
        self._wait = wait or threading.Event().wait
        self._random = random or Random()  # noqa: S311 - jitter, no secret
        self._backoff = Backoff(base_s=bounds.retry_base_s, cap_s=bounds.retry_cap_s)
        self.downloaded_bytes = 0

    def held_bytes(self, blob: Blob) -> int:
        """Bytes of the file that are here already, whole or not."""
        for path in (self._folder / blob.sha256, self._part(blob)):
            with suppress(FileNotFoundError):
                return min(path.stat().st_size, blob.size_bytes)
        return 0

    def fetch(self, blob: Blob) -> Path:
        """The file, verified and on the disk.

        Raises:
            Untrusted: what came has another digest or more bytes than signed metadata says.
            NotFound, Forbidden: the hub does not have it, or not for this device.
            Unavailable: the hub broke off too often; what came so far is kept.
            OSError: the disk is full or failed.
        """
        target = self._folder / blob.sha256
        if target.exists():
            return target
        failures = 0
        while True:
            before = self._part_size(blob)
            try:
                self._attempt(blob)
                break
            except Unavailable:
                failures = failures + 1 if self._part_size(blob) <= before else 0
                if failures >= self._bounds.attempts:
                    raise
                self._wait(self._backoff.full(failures, self._random.random))
        self._finish(blob, target)
        return target

    def _attempt(self, blob: Blob) -> None:
        """Appends what is missing; returns when the part has the blob's size."""
        start = self._part_size(blob)
        if start > blob.size_bytes:
            self._part(blob).unlink()
            start = 0
        if start == blob.size_bytes and start > 0:
            return
        with self._origin.get(blob_url(blob.sha256), start=start) as answer:
            if answer.status == 416:
                self._part(blob).unlink(missing_ok=True)
                raise Unavailable(f"blob {blob.sha256}: the hub refuses to go on at byte {start}")
            with self._part(blob).open("r+b" if start else "wb") as file:
                file.seek(_start_of(answer, blob))
                file.truncate()
                self._take(answer, blob, file)
                file.flush()
                os.fsync(file.fileno())

    def _take(self, answer: Answer, blob: Blob, file: BinaryIO) -> None:
        size = file.tell()
        for chunk in answer.chunks():
            size += len(chunk)
            if size > blob.size_bytes:
                self._part(blob).unlink()
                raise Untrusted(f"blob {blob.sha256}: more than its {blob.size_bytes} bytes came")
            file.write(chunk)
            self.downloaded_bytes += len(chunk)
        if size < blob.size_bytes:
            raise Unavailable(f"blob {blob.sha256}: {size} of {blob.size_bytes} bytes came")

    def _finish(self, blob: Blob, target: Path) -> None:
        part = self._part(blob)
        digest = sha256()
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != blob.sha256:
            part.unlink()
            raise Untrusted(f"blob {blob.sha256}: what came has SHA-256 {digest.hexdigest()}")
        part.rename(target)
        flush_folder(self._folder)

    def _part(self, blob: Blob) -> Path:
        return self._folder / f".part-{blob.sha256}"

    def _part_size(self, blob: Blob) -> int:
        try:
            return self._part(blob).stat().st_size
        except FileNotFoundError:
            return 0


def _start_of(answer: Answer, blob: Blob) -> int:
    """Where in the file the answer's first byte belongs."""
    if answer.status == 200:
        return 0
    found = _RANGE.fullmatch(answer.content_range)
    if found is None:
        raise Corrupt(f"blob {blob.sha256}: a partial answer with range {answer.content_range!r}")
    return int(found[1])
