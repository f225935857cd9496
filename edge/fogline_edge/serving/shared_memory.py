"""System shared memory: regions that clients have registered, and copies into and out of them.

A region is a part of a file in the shared-memory folder (`shm_open(3)`: /dev/shm), which another
process can shrink, unlink or replace at any time. So nothing is mapped: a page of a mapping that
lies beyond the file's end would end this process (SIGBUS). Contents are copied by `pread` and
`pwrite` on a descriptor that was opened and checked at registration, and what is not all there is
an error of the request.

A file is taken only if it belongs to the user who registers it: a name in the folder is all that a
client gives, and what other users keep there is not its to read.

Source: Triton's protocol extension "shared memory".
"""

import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fogline.errors import Conflict, Exhausted, Forbidden, InvalidInput, NotFound
from fogline.records import Record
from fogline_edge.serving.calls import Call

FOLDER = Path("/dev/shm")  # noqa: S108 - where the C library keeps shared memory on Linux
MAX_NAME_CHARS = 256
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class SharedMemoryConfig(Record, frozen=True, kw_only=True):
    """How much shared memory may be registered at once."""

    max_regions: Annotated[int, Meta(ge=1, le=4096)] = 64
    max_bytes: Annotated[int, Meta(ge=1)] = 2**30
    """Of all regions together; one that lies in another's file counts again."""
    max_copied_bytes: Annotated[int, Meta(ge=1)] = 256 * 2**20
    """Of the copies that requests hold until they are answered: a message of a hundred bytes can
    ask for one of any size."""


class RegionStatus(Record, frozen=True, kw_only=True):
    """One registered region."""

    name: str
    key: str
    """Name of the file, as it was given."""
    offset: int
    """Where the region begins in the file, bytes."""
    byte_size: int


class _Region:
    """An open file, closed when the last copy that goes on has ended."""

    __slots__ = ("file", "status")

    def __init__(self, status: RegionStatus, file: int) -> None:
        self.status = status
        self.file = file

    def __del__(self) -> None:
        os.close(self.file)


class Hold:
    """A share of the bytes that requests may hold, given back when nothing refers to it."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back

    def __del__(self) -> None:
        self._give_back()


class Regions:
    """Registered regions by name. Safe to use from any thread."""

    def __init__(self, config: SharedMemoryConfig | None = None, *, folder: Path = FOLDER) -> None:
        self._config = config or SharedMemoryConfig()
        self._folder = folder
        self._lock = threading.RLock()  # a hold may end while its own thread is in here
        self._regions: Mapping[str, _Region] = {}
        self._copied = 0

    def register(self, name: str, key: str, offset: int, byte_size: int, uid: int | None) -> None:
        """Makes a part of a file known by `name`.

        Args:
            name: What requests call it.
            key: The file's name in the folder; a slash before it is allowed, as `shm_open` has it.
            offset: Where the region begins, bytes.
            byte_size: How long it is, bytes.
            uid: User who registers; None where the connection does not tell, which then stands for
                this process's own.

        Raises:
            InvalidInput: a name, key or place that cannot be right; no regular file; or a region
                that does not lie in it.
            NotFound: no such file.
            Forbidden: the file is another user's, or this process may not use it.
            Conflict: the name is taken.
            Exhausted: too many regions, or too large ones.
        """
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise InvalidInput(f"a region's name has 1 to {MAX_NAME_CHARS} characters")
        if offset < 0 or byte_size < 1 or offset + byte_size >= 2**63:
            raise InvalidInput(f"region {name!r}: no {byte_size} bytes at {offset} of a file")
        file = self._open(name, key)
        status = RegionStatus(name=name, key=key, offset=offset, byte_size=byte_size)
        region = _Region(status, file)  # closes the file whatever comes next
        self._check(region, os.geteuid() if uid is None else uid)
        with self._lock:
            self._make_room(status)
            self._regions = {**self._regions, name: region}

    def unregister(self, name: str = "") -> None:
        """Forgets a region, or all if `name` is empty; one that is not there is no error."""
        with self._lock:
            kept = {n: r for n, r in self._regions.items() if name and n != name}
            self._regions = kept

    def status(self, name: str = "") -> tuple[RegionStatus, ...]:
        """The region with this name, or all by name.

        Raises:
            NotFound: no such region.
        """
        if name:
            return (self._find(name).status,)
        regions = self._regions
        return tuple(regions[n].status for n in sorted(regions))

    def hold(self, size: int) -> Hold:
        """Takes a share for a request's copies; to be kept as long as they are.

        Raises:
            Exhausted: requests hold too much already.
        """
        limit = self._config.max_copied_bytes
        with self._lock:
            if self._copied + size > limit:
                raise Exhausted(
                    f"{size} bytes of shared memory beside {self._copied} that other requests hold,"
                    f" at most {limit}; try later, or send less"
                )
            self._copied += size
        return Hold(partial(self._let_go, size))

    def _let_go(self, size: int) -> None:
        with self._lock:
            self._copied -= size

    def read(self, name: str, offset: int, size: int) -> bytes:
        """A copy of `size` bytes at `offset` of a region.

        Raises:
            NotFound: no such region.
            InvalidInput: they are not all within the region, or no longer within its file.
        """
        region = self._find(name)
        start = _place(region.status, offset, size)
        parts = []
        left = size
        while left:
            part = os.pread(region.file, left, start)
            if not part:
                raise InvalidInput(f"region {name[:80]!r}: its file has become shorter")
            parts.append(part)
            left -= len(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Copies `data` to `offset` of a region; raises as `read`.

        Raises:
            Exhausted: the system has no memory for it.
        """
        region = self._find(name)
        start = _place(region.status, offset, len(data))
        if os.fstat(region.file).st_size < start + len(data):
            raise InvalidInput(f"region {name[:80]!r}: its file has become shorter")
        view = memoryview(data)
        while view:
            try:
                count = os.pwrite(region.file, view, start)
            except OSError as e:
                raise Exhausted(f"region {name[:80]!r}: {e.strerror}") from e
            view = view[count:]
            start += count

    def _find(self, name: str) -> _Region:
        region = self._regions.get(name)
        if region is None:
            raise NotFound(f"no shared memory is registered as {name[:80]!r}")
        return region

    def _open(self, name: str, key: str) -> int:
        file = key.removeprefix("/")
        if not file or "/" in file or "\0" in file or file in (".", ".."):
            raise InvalidInput(f"region {name!r}: the key {key[:80]!r} is no name of shared memory")
        try:
            return os.open(self._folder / file, _OPEN)
        except FileNotFoundError:
            raise NotFound(f"region {name!r}: no shared memory {key[:80]!r}") from None
        except PermissionError:
            raise Forbidden(
                f"region {name!r}: this process may not use the shared memory {key[:80]!r}"
            ) from None
        except (OSError, UnicodeEncodeError) as e:  # a link, a folder, a socket, a name too long
            raise InvalidInput(
                f"region {name!r}: {key[:80]!r} is no shared memory ({type(e).__name__})"
            ) from None

    def _check(self, region: _Region, uid: int) -> None:
        about = os.fstat(region.file)
        status = region.status
        if not stat.S_ISREG(about.st_mode):
            raise InvalidInput(f"region {status.name!r}: {status.key[:80]!r} is no regular file")
        if about.st_uid != uid:
            raise Forbidden(f"region {status.name!r}: {status.key[:80]!r} is another user's")
        if status.offset + status.byte_size > about.st_size:
            raise InvalidInput(
                f"region {status.name!r}: expected {status.byte_size} bytes at {status.offset} of "
                f"{status.key[:80]!r}, which has {about.st_size}"
            )

    def _make_room(self, status: RegionStatus) -> None:
        config = self._config
        if status.name in self._regions:
            raise Conflict(f"shared memory is registered as {status.name!r} already")
        if len(self._regions) >= config.max_regions:
            raise Exhausted(f"{config.max_regions} regions are registered already")
        total = status.byte_size + sum(r.status.byte_size for r in self._regions.values())
        if total > config.max_bytes:
            raise Exhausted(
                f"the regions would have {total} bytes together, at most {config.max_bytes} may be "
                "registered"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Shared memory as inference uses it."""

    regions: Regions
    check: Callable[[Call], None]
    """Raises `Forbidden` where a call's peer may not use it: what one peer has registered, another
    that only knows its name must not reach."""


def _place(status: RegionStatus, offset: int, size: int) -> int:
    if offset < 0 or size < 0 or offset + size > status.byte_size:
        raise InvalidInput(
            f"region {status.name!r}: no {size} bytes at {offset}, it has {status.byte_size}"
        )
    return status.offset + offset
