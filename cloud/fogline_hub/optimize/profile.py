"""What a device has, as data: `profiles/NAME.toml` here, or a file of the user's own.

A profile is no device. Latencies for it are estimates, by arithmetic peak alone, until a live
device reports its own (`observed`).
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fogline.errors import Corrupt, NotFound
from fogline.records import Record

FOLDER = Path(__file__).with_name("profiles")
HOST = "host"
"""The profile of the machine that measures."""
MAX_PROFILE_BYTES = 64 * 1024

_Bytes = Annotated[int, Meta(ge=0, le=2**53)]
_Text = Annotated[str, Meta(max_length=400)]


class Profile(Record, frozen=True, kw_only=True):
    """One kind of device. Budgets are for one model; 0 is none."""

    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9.-]*\Z")]
    about: _Text
    architecture: Literal["", "aarch64", "armv7l", "x86_64"]
    """Empty: that of the machine that measures."""
    features: tuple[Annotated[str, Meta(max_length=64)], ...] = ()
    """Of the processor, as Linux names them in /proc/cpuinfo."""
    cores: Annotated[int, Meta(ge=0, le=1024)] = 0
    """0: as many as the machine that measures lets a process use."""
    peak_gflops_per_core: Annotated[float, Meta(ge=0)] = 0.0
    """Clock times float operations a cycle; 0: estimates are not made."""
    memory_bytes: _Bytes = 0
    """Most resident memory of a process that serves this model alone, Python and runtime too."""
    flash_bytes: _Bytes = 0
    """Most bytes of the model's files."""
    latency_us: Annotated[float, Meta(ge=0)] = 0.0
    """Most median latency of one row at `cores` threads."""
    reduce_range: bool = True
    """Weights of int8 products take 7 bits, so that pairs of products cannot saturate 16 bits."""
    activations: Literal["int8", "uint8"] = "uint8"
    """Of static int8; Arm multiplies signed by signed at no cost, x86 does not."""
    sources: tuple[_Text, ...] = ()

    @property
    def is_host(self) -> bool:
        return self.name == HOST

    @property
    def threads(self) -> int:
        """Threads that are timed: the device's cores, but no more than are here."""
        here = len(os.sched_getaffinity(0))
        return min(self.cores, here) if self.cores else here


def profile_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the profiles that come with Fogline."""
    return tuple(sorted(p.stem for p in folder.glob("*.toml")))


def read_profile(text: str) -> Profile:
    """The profile of that name, or of that path when the text ends in `.toml`.

    Raises:
        NotFound: there is none.
        Corrupt: the file is no profile.

    >>> read_profile("pi-zero-2w").cores
    4
    """
    is_path = text.endswith(".toml")
    if not is_path and text not in profile_names():
        raise NotFound(
            f"no device profile {text[:80]!r}; there are {', '.join(profile_names())}, "
            "or name a .toml file of your own"
        )
    path = Path(text) if is_path else FOLDER / f"{text}.toml"
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    data = path.read_bytes()[: MAX_PROFILE_BYTES + 1]
    if len(data) > MAX_PROFILE_BYTES:
        raise Corrupt(f"{path.name}: a profile has at most {MAX_PROFILE_BYTES} bytes")
    return decode_profile(data, path.name)


def decode_profile(data: bytes, what: str) -> Profile:
    """A profile of TOML bytes; raises `Corrupt` for anything else."""
    try:
        return msgspec.convert(tomllib.loads(data.decode()), Profile)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as e:
        raise Corrupt(f"{what}: not a device profile: {e}") from e
