"""Sockets that listen, and whom the system says is at the other end."""

import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from fogline.addresses import Address
from fogline.errors import Conflict, InvalidInput
from fogline_edge.serving.calls import Endpoint, Listener
from fogline_edge.serving.front.config import FrontConfig

SOCKET_MODE = 0o660
"""Of a Unix socket: its owner and group."""
_CREDENTIALS = struct.Struct("3i")


class Bound:
    """A listener's socket, and what must be cleared away after it."""

    def __init__(self, listener: Listener, *, backlog: int, take_over: bool) -> None:
        """Binds and listens.

        Raises:
            Conflict: the address is in use, or the system refuses it.
            InvalidInput: the path of a Unix socket is too long, or is something else.
        """
        self.listener = listener
        self._inode = 0
        if isinstance(listener.address, Path):
            self.socket = self._bind_path(listener.address, take_over=take_over)
            address: Address | Path = listener.address
        else:
            self.socket = _bind_address(listener.address, take_over=take_over)
            address = Address(listener.address.host, self.socket.getsockname()[1])
        self.endpoint = Endpoint(address=address, is_secure=listener.tls is not None)
        self.socket.listen(backlog)
        self.socket.setblocking(False)

    def close(self) -> None:
        """Stops listening; removes a Unix socket's file unless another server has taken it over."""
        self.socket.close()
        path = self.listener.address
        if isinstance(path, Path):
            try:
                if path.lstat().st_ino == self._inode:
                    path.unlink()
            except OSError:
                pass  # gone already

    def _bind_path(self, path: Path, *, take_over: bool) -> socket.socket:
        _clear(path, take_over=take_over)
        own = path.with_name(f".{path.name}.{os.getpid()}")
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            own.unlink(missing_ok=True)
            unix.bind(str(own))
            own.chmod(SOCKET_MODE)
            self._inode = own.lstat().st_ino
            own.rename(path)  # it appears whole, with its mode, and in place of a stale one
        except OSError as e:
            unix.close()
            if "too long" in str(e):
                raise InvalidInput(f"{path}: too long for a Unix socket; take a shorter one") from e
            raise Conflict(f"cannot listen on {path}: {e.strerror or e}") from e
        return unix


def bind_all(listeners: Sequence[Listener], config: FrontConfig) -> list[Bound]:
    """All of them, or none; raises as `Bound`."""
    bound: list[Bound] = []
    try:
        for listener in listeners:
            one = Bound(listener, backlog=config.backlog, take_over=config.take_over)
            bound.append(one)  # at once: what is bound must be closed when the next one fails
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind_address(address: Address, *, take_over: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of the past that linger do not count.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if take_over:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tcp.bind((address.host, address.port))
    except OSError as e:
        tcp.close()
        raise Conflict(f"cannot listen on {address}: {e.strerror or e}") from e
    return tcp


def _clear(path: Path, *, take_over: bool) -> None:
    """Finds out whether a path may be bound."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as e:
        raise Conflict(f"cannot listen on {path}: {e.strerror or e}") from e
    if not stat.S_ISSOCK(mode):
        raise InvalidInput(f"{path} is not a socket: choose another path, or remove it")
    if take_over:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        answer = probe.connect_ex(str(path))
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise Conflict(f"cannot listen on {path}: another server does")


def check_free(address: Address | Path, *, take_over: bool) -> None:
    """Says why an address cannot be listened on, for a library that does not.

    Raises:
        Conflict, InvalidInput: as `Bound`.
    """
    if isinstance(address, Path):
        _clear(address, take_over=take_over)
    else:
        _bind_address(address, take_over=take_over).close()


def credentials_of(unix: socket.socket) -> tuple[int, int]:
    """User and process of a Unix socket's peer, as they were when it connected."""
    data = unix.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return uid, pid
