"""The filter of system calls, as decisions: what it says of each call, on either architecture."""

import errno
import re
from pathlib import Path

import pytest

from fogline.sandbox.confinement.seccomp import (
    ALLOW,
    ARCHITECTURES,
    CONDITIONAL,
    DENIED,
    KILL_PROCESS,
    Instruction,
    program,
)

OWN = 4711
EPERM, ENOSYS, ENOTTY = (0x50000 | n for n in (errno.EPERM, errno.ENOSYS, errno.ENOTTY))
HARMLESS = {"read": (0, 63), "write": (1, 64), "mmap": (9, 222), "openat": (257, 56)}


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel's interpreter of classic BPF makes of one call."""
    data = {0: number, 4: architecture or ARCHITECTURES[machine]}
    data |= {16 + 8 * i: a for i, a in enumerate((*arguments, *[0] * 6)[:6])}
    return _run(program(machine, OWN), data)


def _run(code: list[Instruction], data: dict[int, int]) -> int:
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x06:
                return operand
            case 0x20:
                accumulator = data[operand] & 0xFFFFFFFF
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case _:
                raise AssertionError(operation)


MACHINES = pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])


@MACHINES
def test_listed_calls_are_denied_and_others_allowed(machine: str, column: int) -> None:
    for name, numbers in DENIED.items():
        if numbers[column] >= 0:
            assert decide(machine, numbers[column]) == EPERM, name
    for name, numbers in HARMLESS.items():
        assert decide(machine, numbers[column]) == ALLOW, name


@MACHINES
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("clone", (0x3D0F00 | 0x10000,), ALLOW),  # a thread
        ("clone", (17,), EPERM),
        ("clone", (0x4000 | 0x100 | 17,), EPERM),  # vfork, as posix_spawn calls it
        ("clone3", (), ENOSYS),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0o2000000), ALLOW),  # SOCK_CLOEXEC
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (1, 5), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("kill", (OWN, 9), ALLOW),
        ("kill", (OWN - 1, 9), EPERM),
        ("kill", (0xFFFFFFFF, 9), EPERM),
        ("kill", (0, 9), EPERM),
        ("tgkill", (OWN, 5, 9), ALLOW),
        ("tgkill", (1, 5, 9), EPERM),
        ("rt_sigqueueinfo", (1,), EPERM),
        ("rt_tgsigqueueinfo", (1,), EPERM),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (1, 7), EPERM),
        ("sched_setaffinity", (0,), ALLOW),
        ("sched_setaffinity", (1,), EPERM),
        ("fcntl", (5, 1030), ALLOW),
        ("fcntl", (5, 8), EPERM),
        ("fcntl", (5, 15), EPERM),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), ENOTTY),  # TIOCSTI
        ("ioctl", (0, 0x40086602), ENOTTY),  # FS_IOC_SETFLAGS
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), EPERM),
    ],
)
def test_calls_are_judged_by_their_arguments(
    machine: str, column: int, name: str, arguments: tuple[int, ...], answer: int
) -> None:
    assert decide(machine, CONDITIONAL[name][column], *arguments) == answer


@MACHINES
def test_calls_newer_than_the_list_are_not_there(machine: str, column: int) -> None:
    del column
    assert decide(machine, 450) == ENOSYS
    assert decide(machine, 2**29) == ENOSYS


def test_calls_by_another_architecture_s_numbers_end_the_process() -> None:
    assert decide("x86_64", 1, architecture=0x40000003) == KILL_PROCESS  # i386
    assert decide("x86_64", 1 | 0x40000000) == KILL_PROCESS  # x32


@pytest.mark.parametrize(
    ("column", "header"),
    [
        (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (1, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_those_of_the_kernel_s_headers(column: int, header: str) -> None:
    if not Path(header).is_file():
        pytest.skip("this machine has no headers of the kernel")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    numbers = {name: int(number) for name, number in found}
    for name, both in (DENIED | CONDITIONAL).items():
        assert numbers.get(name, -1) == both[column], name
