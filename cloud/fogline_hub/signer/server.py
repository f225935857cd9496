"""The signer's socket: who may ask, how much at once, and what a refusal says.

A Unix socket, 0600, in a 0700 folder; the kernel tells the peer's user, and any other than the
signer's own is hung up on. The hub's processes all run as that user, so this keeps other users
out, not a taken-over hub process: against that stand the rules of `desk`.
"""

import fcntl
import logging
import os
import socket
import struct
import threading
from pathlib import Path
from typing import BinaryIO

from fogline.durable import make_private_folder
from fogline.errors import Conflict, FoglineError
from fogline_hub.signer.bounds import SignerBounds
from fogline_hub.signer.desk import Desk
from fogline_hub.signer.messages import (
    Answer,
    AskDeviceKeys,
    AskUpKey,
    Data,
    DeviceKeys,
    Failed,
    Payloads,
    RenewAuto,
    Request,
    Seal,
    SignAuto,
    SignOnline,
    decode_request,
    receive_frame,
    send,
)

_log = logging.getLogger(__name__)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of struct ucred, unix(7)


class SignerServer:
    """Serves a desk on a socket until `close`. One a path, held by a lock file."""

    def __init__(self, path: Path, desk: Desk, bounds: SignerBounds | None = None) -> None:
        self._path = path
        self._desk = desk
        self._bounds = bounds or SignerBounds()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        make_private_folder(path.parent)
        self._held = _hold(path.with_name(f"{path.name}.lock"))
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(self._bounds.max_connections)
        self._thread = threading.Thread(target=self._accept, name="signer accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hangs up on everybody and removes the socket."""
        self._path.unlink(missing_ok=True)
        _shut(self._listener)
        with self._lock:
            open_now = list(self._open)
        for connection in open_now:
            _shut(connection)
        self._thread.join(self._bounds.frame_timeout_s)
        self._listener.close()
        self._held.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                is_full = len(self._open) >= self._bounds.max_connections
                if not is_full:
                    self._open.add(connection)
            if is_full or _user_of(connection) != os.getuid():
                _log.warning("hung up", extra={"full": is_full, "uid": _user_of(connection)})
                self._forget(connection)
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="signer connection", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (data := receive_frame(connection, self._bounds.frame_timeout_s)) is not None:
                answer = self._answer(data)
                connection.settimeout(self._bounds.frame_timeout_s)
                send(connection, answer)
                connection.settimeout(None)
        except (OSError, FoglineError) as e:
            _log.info("a connection ended", extra={"reason": str(e)})
        finally:
            self._forget(connection)

    def _answer(self, data: bytes) -> Answer:
        try:
            return self._do(decode_request(data))
        except FoglineError as e:
            return Failed(fault=type(e).__name__, text=str(e))
        except Exception:  # a request's fault must not end the signer; the text could hold anything
            _log.exception("a request failed")
            return Failed(fault="Unavailable", text="the signer failed; its log says why")

    def _do(self, request: Request) -> Answer:
        match request:
            case Seal(items=items):
                return Payloads(payloads=self._desk.seal(items))
            case AskDeviceKeys(device=device):
                up, down = self._desk.device_keys(device)
                return DeviceKeys(up=up, down=down)
            case AskUpKey(device=device):
                return Data(data=self._desk.up_key(device))
            case SignOnline(role=role, unsigned=unsigned):
                return Data(data=self._desk.sign_online(role, unsigned))
            case SignAuto(approval=approval):
                return Data(data=self._desk.sign_auto(approval))
            case RenewAuto():
                return Data(data=self._desk.renew_auto())

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


def _user_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    return int(user)


def _hold(path: Path) -> BinaryIO:
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        file.close()
        raise Conflict(f"another signer holds {path}") from e
    return file


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # already gone
        return
