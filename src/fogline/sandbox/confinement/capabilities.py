"""Gives up all capabilities: of root, or of the owner of a new user namespace.

With `no_new_privs`, which Landlock and seccomp need as well, no program that is executed later gets
them back: capabilities(7), prctl(2) PR_SET_NO_NEW_PRIVS.
"""

import ctypes
import os
import struct

_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38


def drop_all() -> None:
    """Raises `OSError` when the kernel refuses, which it has no reason to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    header = struct.pack("=Ii", _VERSION_3, 0)
    nothing = bytes(2 * 3 * 4)  # effective, permitted and inheritable, as two words of each
    if libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")
