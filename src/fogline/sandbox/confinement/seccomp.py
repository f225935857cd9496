"""A seccomp filter: the system calls that a process which only computes does not need are denied.

It starts no process, makes no socket, and signals, traces or alters no process but itself; memory
that nobody's resident set shows (memfd, System V) is not to be had; metadata of files, which
Landlock leaves alone, stays as it is; calls that mainly widen what can be attacked in the kernel
(io_uring, bpf, keyrings, namespaces) fail, and so do those that are newer than this list.

The program is classic BPF, written by hand because the known libraries need a shared object that
not every machine has: seccomp(2), <https://docs.kernel.org/userspace-api/seccomp_filter.html>. The
list follows what Docker's default profile, Flatpak and systemd's `@system-service` deny.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""`AUDIT_ARCH_*` of <linux/audit.h>, by `uname -m`."""

_NONE = -1
DENIED = {
    # name: (number on x86_64, number on aarch64), from <asm/unistd_64.h> and <asm-generic/unistd.h>
    # -- processes: none is started, no other is reached
    "fork": (57, _NONE),
    "vfork": (58, _NONE),
    "tkill": (200, 130),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "unshare": (272, 97),
    "setns": (308, 268),
    "personality": (135, 92),
    # -- the network, by whatever family
    "socket": (41, 198),
    # -- files: metadata, and ways to files that are no paths
    "chmod": (90, _NONE),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, _NONE),
    "fchown": (93, 55),
    "lchown": (94, _NONE),
    "fchownat": (260, 54),
    "utime": (132, _NONE),
    "utimes": (235, _NONE),
    "futimesat": (261, _NONE),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "mknod": (133, _NONE),
    "mknodat": (259, 33),
    "inotify_init": (253, _NONE),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # -- memory and messages outside of what a process is seen to hold
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # -- the kernel itself
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "iopl": (172, _NONE),
    "ioperm": (173, _NONE),
    "modify_ldt": (154, _NONE),
    "uselib": (134, _NONE),
}
"""Calls that fail with EPERM whatever their arguments are."""

CONDITIONAL = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socketpair": (53, 199),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "prctl": (157, 167),
}
FIRST_UNKNOWN = 450
"""From here on (Linux 5.17) calls fail with ENOSYS, as on a kernel that does not have them."""

_LOAD, _AND = 0x20, 0x54  # BPF_LD | BPF_W | BPF_ABS; BPF_ALU | BPF_AND | BPF_K
_EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
ALLOW, KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_X32_BIT = 0x40000000

_CLONE_THREAD = 0x00010000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_F_SETOWN, _F_SETOWN_EX, _F_SETLEASE = 8, 15, 1024
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
# TCGETS and TIOCGWINSZ (is this a terminal?), FIONREAD, FIONBIO, FIOCLEX, FIONCLEX
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5451, 0x5450)

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand: struct sock_filter."""


def restrict() -> bool:
    """Takes on the filter, for this thread and all that it starts, for ever.

    Returns:
        False on another architecture, or where the kernel has no filters; nothing changed then.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return False
    instructions = program(machine, os.getpid())
    code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head, 0, 0) == 0)


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter of one architecture, for the process `pid` alone.

    Raises:
        KeyError: no such architecture in `ARCHITECTURES`.
    """
    column = list(ARCHITECTURES).index(machine)
    made: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, KILL_PROCESS),  # 32-bit calls have other numbers
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        made += [(_ANY_BIT, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL_PROCESS)]
    made += [(_AT_LEAST, 0, 1, FIRST_UNKNOWN), _fail(errno.ENOSYS)]
    for numbers in DENIED.values():
        if numbers[column] != _NONE:
            made += [(_EQUAL, 0, 1, numbers[column]), _fail(errno.EPERM)]
    for name, block in _blocks(pid).items():
        made += [(_EQUAL, 0, len(block), CONDITIONAL[name][column]), *block]
    return [*made, _allow()]


def _blocks(pid: int) -> dict[str, list[Instruction]]:
    """What decides on a call by its arguments; every block ends in an answer."""
    own = _only_if(0, (pid,))
    return {
        "clone": [
            _argument(0),
            (_ANY_BIT, 0, 1, _CLONE_THREAD),
            _allow(),
            _fail(errno.EPERM),
        ],
        # Its flags lie in memory, which a filter cannot read; libraries then take clone.
        "clone3": [_fail(errno.ENOSYS)],
        # Datagram sockets of a pair can still be sent to any other.
        "socketpair": [
            _argument(0),
            (_EQUAL, 0, 3, _AF_UNIX),
            _argument(1),
            (_AND, 0, 0, _SOCK_TYPES),
            (_EQUAL, 1, 0, _SOCK_STREAM),
            _fail(errno.EPERM),
            _allow(),
        ],
        "kill": own,
        "tgkill": own,
        "rt_sigqueueinfo": own,
        "rt_tgsigqueueinfo": own,
        "prlimit64": _only_if(0, (0, pid)),  # it changes limits of others, such as the parent's
        "sched_setaffinity": _only_if(0, (0, pid)),
        "fcntl": _only_if_not(1, (_F_SETOWN, _F_SETOWN_EX, _F_SETLEASE)),
        "ioctl": _only_if(1, _IOCTLS, errno.ENOTTY),
        "prctl": _only_if_not(0, (_PR_SET_PDEATHSIG,)),  # it dies with its parent
    }


def _only_if(argument: int, values: Sequence[int], number: int = errno.EPERM) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, v) for i, v in enumerate(values)]
    return [_argument(argument), *tests, _fail(number), _allow()]


def _only_if_not(argument: int, values: Sequence[int]) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, v) for i, v in enumerate(values)]
    return [_argument(argument), *tests, _allow(), _fail(errno.EPERM)]


def _argument(index: int) -> Instruction:
    """Loads the low word; all arguments that are tested are ints for the kernel, or flags in it."""
    return _LOAD, 0, 0, 16 + 8 * index


def _fail(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERRNO | number


def _allow() -> Instruction:
    return _RETURN, 0, 0, ALLOW
