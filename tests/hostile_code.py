"""Code that attacks, as a pickle runs it: each attack says what came of it."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path


class Attack:
    """Runs Python code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[object, tuple[str, dict[str, object]]]:
        return exec, (self._code, {})  # with names of its own, as a module has


def hostile_pickle(path: Path, code: str) -> Path:
    path.write_bytes(pickle.dumps(Attack(code)))
    return path


@dataclass(frozen=True)
class Targets:
    """What is attacked."""

    secret: Path
    sample: Path
    outside: Path
    """Folder outside of the scratch folder."""
    port: int
    socket: Path
    abstract: str
    parent: int
    home: Path

    def names(self) -> dict[str, str | int]:
        return {
            "secret": str(self.secret),
            "sample": str(self.sample),
            "outside": str(self.outside),
            "port": self.port,
            "unix": str(self.socket),
            "abstract": self.abstract,
            "parent": self.parent,
            "home": str(self.home),
        }


ATTACKS = {
    "reads a secret": "open(secret).read()",
    "reads a secret by its folder": "os.listdir(outside)",
    "reads a secret by a descriptor of its folder": (
        "os.open(os.path.basename(secret), os.O_RDONLY, dir_fd=os.open(outside, os.O_PATH))"
    ),
    "reads a secret by the root of another process": "open(f'/proc/{parent}/root{secret}').read()",
    "reads the home folder": "os.listdir(home)",
    "reads the system's passwords": "open('/etc/shadow').read()",
    "reads who else is there": "os.listdir('/proc')",
    "reads its parent's environment": "open(f'/proc/{parent}/environ').read()",
    "reads its parent's memory": "open(f'/proc/{parent}/mem', 'rb').read(1)",
    "writes a file": "open(outside + '/written', 'w')",
    "makes a folder": "os.mkdir(outside + '/made')",
    "writes into Python": "open(os.path.dirname(os.__file__) + '/evil.py', 'w')",
    "writes into shared memory": "open('/dev/shm/evil', 'w')",
    "appends to the sample": "open(sample, 'a')",
    "truncates the sample": "os.truncate(sample, 0)",
    "truncates the sample as it opens it": "os.open(sample, os.O_RDONLY | os.O_TRUNC)",
    "removes the sample": "os.unlink(sample)",
    "moves the sample": "os.rename(sample, 'mine')",
    "replaces the sample": "open('new', 'w').close(); os.rename('new', sample)",
    "changes the sample's rights": "os.chmod(sample, 0)",
    "changes the sample's rights by a descriptor": "os.fchmod(os.open(sample, os.O_RDONLY), 0)",
    "changes the sample's time": "os.utime(sample, (0, 0))",
    "changes the sample's attributes": "os.setxattr(sample, 'user.x', b'x')",
    "links a secret": "os.link(secret, 'linked')",
    "leaves a link": "os.symlink(secret, 'symbolic')",
    "leaves a pipe": "os.mkfifo('fifo')",
    "leaves a socket": "os.mknod('socket', 0o140600)",
    "leaves a device": "os.mknod('device', 0o020600, os.makedev(1, 1))",
    "connects to this machine": "socket.create_connection(('127.0.0.1', port), 2)",
    "connects by IPv6": "socket.create_connection(('::1', port), 2)",
    "sends a datagram": (
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))"
    ),
    "asks for a name": "socket.getaddrinfo('example.com', 80)",
    "connects to a socket in a folder": "socket.socket(socket.AF_UNIX).connect(unix)",
    "connects to an abstract socket": "socket.socket(socket.AF_UNIX).connect(abstract)",
    "sends from a pair of datagram sockets": (
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', unix)"
    ),
    "opens a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "forks": "os.fork() or os._exit(0)",
    "spawns": "os.posix_spawn('/bin/true', ['true'], {})",
    "runs a program": "subprocess.run(['true'])",
    "runs a shell": "os.system('true') and fail()",
    "starts a process by clone": "call(56 if x86 else 220, 17, 0, 0, 0, 0) or os._exit(0)",
    "starts a process by clone3": "call(435, (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17, 0, 0, 0), 64)",
    "kills its parent": "os.kill(parent, signal.SIGKILL)",
    "stops its parent": "os.kill(parent, signal.SIGSTOP)",
    "kills everybody": "os.kill(-1, signal.SIGTERM)",
    "kills its parent by a descriptor": (
        "signal.pidfd_send_signal(os.pidfd_open(parent), signal.SIGKILL)"
    ),
    "has the kernel signal its parent": "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, parent)",
    "traces its parent": "call(101 if x86 else 117, 16, parent, 0, 0)",
    "takes its parent's processor time": ("resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))"),
    "slows its parent down": "os.setpriority(os.PRIO_PROCESS, parent, 19)",
    "pins its parent": "os.sched_setaffinity(parent, {0})",
    "outlives its parent": "ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) and fail()",
    "takes a descriptor of its parent": "call(438, os.pidfd_open(parent), 0, 0)",
    "raises its own limits": "call(160 if x86 else 164, 1, (ctypes.c_uint64 * 2)(2**40, 2**40))",
    "hides memory in a file": "os.memfd_create('x')",
    "hides memory in a segment": "call(29 if x86 else 194, 0, 4096, 0o1600)",
    "mounts": "call(165 if x86 else 40, b'/', b'/', 0, 4096, 0)",
    "makes namespaces": "call(272 if x86 else 97, 0x10000000)",
    "changes its root": "os.chroot('.')",
    "becomes another user": "os.setuid(os.getuid() + 1)",
    "opens a ring": "call(425, 1, (ctypes.c_char * 120)())",
    "loads a program into the kernel": "call(321 if x86 else 280, 5, (ctypes.c_char * 120)(), 120)",
    "reads the keyring": "call(250 if x86 else 219, 0, -3, 0)",
}
"""Statement by what it does; it fails where it raises `OSError`."""

_FRAME = """
import ctypes, fcntl, json, os, platform, resource, signal, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
def fail():
    raise PermissionError('refused')
def call(*arguments):
    made = libc.syscall(*arguments)
    if made < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return made
tried = {'descriptors': [
    fd for fd in range(3, 1024)
    if os.path.exists(f'/proc/self/fd/{fd}') and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
]}
for name, code in attacks.items():
    try:
        exec(code)
        tried[name] = 'done'
    except OSError:
        pass
    except BaseException as e:
        tried[name] = repr(e)
raise ValueError(json.dumps({k: v for k, v in tried.items() if v}))
"""


def all_attacks(targets: Targets) -> str:
    """Code that tries each and raises `ValueError` with those that did not fail, as JSON."""
    given = "".join(f"{name} = {value!r}\n" for name, value in targets.names().items())
    return f"{given}attacks = {json.dumps(ATTACKS)}\n{_FRAME}"
