"""Which devices move when: wave sizes as an operator writes them, and a seeded order of devices."""

import math
import re
from collections.abc import Iterable
from hashlib import sha256

from fogline.errors import InvalidInput

MAX_WAVES = 20

_WAVE = re.compile(r"(\d{1,7})(%?)")


def parse_waves(text: str) -> tuple[str, ...]:
    """Reads `1,10%,50%,100%`: how many devices have moved by the end of each wave.

    Raises:
        InvalidInput: not counts and percentages, more than `MAX_WAVES`, or the last is not 100%.
    """
    parts = tuple(part.strip() for part in text.split(","))
    text = text[:80]
    if len(parts) > MAX_WAVES:
        raise InvalidInput(f"--waves {text!r}: {len(parts)} waves, at most {MAX_WAVES}")
    for part in parts:
        match = _WAVE.fullmatch(part)
        if match is None or int(match[1]) == 0 or (match[2] and int(match[1]) > 100):
            raise InvalidInput(
                f"--waves {text!r}: {part[:20]!r} is neither a number of devices nor a percentage "
                "from 1% to 100%; write for example 1,25%,100%"
            )
    if parts[-1] != "100%":
        raise InvalidInput(f"--waves {text!r}: the last wave must be 100%")
    return parts


def wave_of_each(waves: tuple[str, ...], devices: Iterable[str], seed: str) -> dict[str, int]:
    """Gives each device the index of its wave.

    The order is that of SHA-256(seed, device): the same for the same rollout wherever it is
    computed, and unrelated to enrolment order. Waves are cumulative and never shrink; a wave that
    adds no device is simply empty.
    """
    ordered = sorted(devices, key=lambda d: sha256(f"{seed}/{d}".encode()).digest())
    assigned: dict[str, int] = {}
    for index, wave in enumerate(waves):
        for device in ordered[len(assigned) : _moved_by(wave, len(ordered))]:
            assigned[device] = index
    return assigned


def _moved_by(wave: str, devices: int) -> int:
    """Devices that have moved by the end of the wave; a percentage rounds up."""
    if wave.endswith("%"):
        return math.ceil(devices * int(wave[:-1]) / 100)
    return min(devices, int(wave))
