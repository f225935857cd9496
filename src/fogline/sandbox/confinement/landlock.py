"""Landlock: a process gives up all files but those that are named here, for itself and for ever.

Needs no rights. Whatever is not granted cannot be opened, listed, made, removed, truncated or
linked; names and metadata can still be asked for (`stat`), and changing metadata (`chmod`) is for
`seccomp` to deny. Processes outside the domain cannot be traced, and from ABI 6 not be signalled.
<https://docs.kernel.org/userspace-api/landlock.html>, landlock(7).
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress

MIN_ABI = 3
"""Linux 6.2: before it, what can be read could also be truncated."""

# The numbers of these calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ALL_OF_ABI_3 = (1 << 15) - 1
_IOCTL_DEV = 1 << 15  # ABI 5
_BIND_AND_CONNECT_TCP = 0b11  # ABI 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # ABI 6

_READ = _EXECUTE | _READ_FILE | _READ_DIR
# Neither links nor pipes nor sockets: who reads the folder later finds files and folders alone.
_WRITE = (
    _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REFER
) | (_REMOVE_FILE | _REMOVE_DIR)  # fmt: skip
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none, or where it is switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def restrict(*, read: Iterable[str], write: Iterable[str]) -> bool:
    """Leaves this thread, which must be the only one, with these files and folders alone.

    Args:
        read: What may be read and executed, with all beneath; what is not there is left out.
        write: What may also be written; folders also get and lose files and folders.

    Returns:
        False where the kernel has no Landlock of `MIN_ABI`; then nothing has changed.

    Raises:
        OSError: the kernel refused a step.
    """
    version = abi()
    if version < MIN_ABI:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = _make_ruleset(libc, version)
    try:
        for paths, rights in ((read, _READ), (write, _WRITE)):
            for path in paths:
                with suppress(FileNotFoundError):
                    _grant(libc, ruleset, path, rights)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise _error("no_new_privs")
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise _error("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _make_ruleset(libc: ctypes.CDLL, version: int) -> int:
    files = _ALL_OF_ABI_3 | (_IOCTL_DEV if version >= 5 else 0)
    network = _BIND_AND_CONNECT_TCP if version >= 4 else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    # Enterprise Linux 9 said ABI 6 before it could scope signals (xz, my_landlock.h).
    for scopes in dict.fromkeys((scoped, 0)):
        attributes = struct.pack("=QQQ", files, network, scopes)
        made = int(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
        if made >= 0:
            return made
        if ctypes.get_errno() != errno.EINVAL:
            break
    raise _error("landlock_create_ruleset")


def _grant(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise _error(f"landlock_add_rule for {path}")
    finally:
        os.close(fd)


def _error(step: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{step}: {os.strerror(number)}")
