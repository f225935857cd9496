"""Which versions leave memory so that another finds room: a pure decision."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fogline.errors import Exhausted
from fogline_edge.serving.memory import Reading


class NoRoomNow(Exhausted):
    """A version that fits finds no room at this moment; trying again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Anonymous memory of one version, in bytes."""

    held_bytes: int = 0
    """While it is loaded."""
    peak_bytes: int = 0
    """Most at once while it is loaded; at least `held_bytes`."""
    run_bytes: int = 0
    """What one run takes beside, and gives back."""
    is_pipeline: bool = False
    """It holds nothing and takes no place: its components are models like any others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One version in memory, as far as room is concerned."""

    label: str
    held_bytes: int
    used: int
    """When it was last asked for: larger is later."""
    in_flight: int = 0
    is_pinned: bool = False
    is_leaving: bool = False
    """Its door is closed, and it goes when its last request has ended."""
    run_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    budget_bytes: int
    """0: no budget."""
    max_loaded: int
    reserve_bytes: int = 0
    """Of the budget, for runs that go on meanwhile: no model is refused for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Whether a version finds room now, and who is to leave for it."""

    is_there: bool
    """It would stay within the bounds now, if nothing is kept in reserve."""
    leaving: tuple[Resident, ...] = ()
    """Who has to be gone before, in this order; nobody where there is room, or nobody may leave."""


def make_room(
    need: Need,
    label: str,
    residents: Sequence[Resident],
    used_bytes: int,
    bounds: Bounds,
    passed: Collection[Resident] = (),
) -> Room:
    """Who leaves so that `need` fits, and the reserve stays free.

    Args:
        need: Of the version to load.
        label: Its name, for the refusal.
        residents: What is in memory.
        used_bytes: What models hold now; may be more than the residents' sum.
        bounds: What they may hold.
        passed: Who is not to be asked.

    Raises:
        Exhausted: it would not fit if everything left that may; with the numbers.
    """
    _check_fits(need, label, [r for r in residents if r.is_pinned and not r.is_leaving], bounds)
    over = used_bytes + need.peak_bytes - bounds.budget_bytes if bounds.budget_bytes else 0
    too_many = len(residents) + 1 - bounds.max_loaded
    is_there = over <= 0 and too_many <= 0
    over += bounds.reserve_bytes if bounds.budget_bytes else 0
    leaving: list[Resident] = []
    for one in order_of_leaving(r for r in residents if r not in passed):
        if over <= 0 and too_many <= 0:
            break
        leaving.append(one)
        over -= one.held_bytes
        too_many -= 1
    return Room(is_there=is_there, leaving=tuple(leaving))


def order_of_leaving(residents: Iterable[Resident]) -> list[Resident]:
    """Those that leave already, then idle ones, each by when they were last asked for."""
    free = (r for r in residents if r.is_leaving or not r.is_pinned)
    return sorted(free, key=lambda r: (not r.is_leaving, r.in_flight > 0, r.used))


def check_machine(need: Need, label: str, reading: Reading, keep_free: float) -> None:
    """Raises `NoRoomNow` where a load would take the machine, or the group, to its end.

    Args:
        need: Of the version to load.
        label: Its name, for the refusal.
        reading: The memory that is free.
        keep_free: Share of all of it that a load must leave.
    """
    rooms = []
    if reading.total_bytes:
        rooms.append((reading.available_bytes, reading.total_bytes, "the machine"))
    if reading.group_limit_bytes and reading.group_used_bytes is not None:
        left = reading.group_limit_bytes - reading.group_used_bytes
        rooms.append((left, reading.group_limit_bytes, "this process's control group"))
    for free, total, whose in rooms:
        if free - need.peak_bytes < total * keep_free:
            raise NoRoomNow(
                f"{label} cannot be loaded now: it takes {_mib(need.peak_bytes)} while it is "
                f"loaded, and {whose} has {_mib(free)} of {_mib(total)} free, of which "
                f"{keep_free:.0%} are kept"
            )


def no_room_now(
    need: Need,
    label: str,
    residents: Iterable[Resident],
    used_bytes: int,
    bounds: Bounds,
    waited_s: float,
) -> NoRoomNow:
    """Why a version that waited for room so long found none; arguments as `make_room`'s."""
    there = list(residents)
    who = ", ".join(
        f"{r.label} is to make room and has {r.in_flight} requests that did not end"
        for r in order_of_leaving(there)[:8]
    )
    held = f"models hold {_mib(used_bytes)}"
    if bounds.budget_bytes:
        held += f" of the {_mib(bounds.budget_bytes)} that they may"
    return NoRoomNow(
        f"{label} cannot be loaded now: {who or 'no model can leave'} within {waited_s:.0f} s; it "
        f"takes {_mib(need.peak_bytes)} while it is loaded, {held}, and {len(there)} of at most "
        f"{bounds.max_loaded} versions are in memory; try later"
    )


def _check_fits(need: Need, label: str, pinned: Sequence[Resident], bounds: Bounds) -> None:
    names = ", ".join(r.label for r in pinned[:8]) or "nothing"
    if len(pinned) >= bounds.max_loaded:
        raise Exhausted(
            f"{label} cannot be loaded: {bounds.max_loaded} versions may be in memory, and as many "
            f"are pinned ({names})"
        )
    fixed = sum(r.held_bytes for r in pinned)
    if bounds.budget_bytes and fixed + need.peak_bytes > bounds.budget_bytes:
        raise Exhausted(
            f"{label} cannot be loaded: it takes {_mib(need.peak_bytes)} while it is loaded "
            f"({_mib(need.held_bytes)} afterwards), the budget for models is "
            f"{_mib(bounds.budget_bytes)}, of which {_mib(fixed)} are pinned ({names}); "
            "raise model_memory_bytes, or serve a smaller variant"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
