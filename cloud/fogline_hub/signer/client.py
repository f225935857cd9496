"""The other hub processes' way to the signer: one connection, found again when it was lost."""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from fogline import errors
from fogline.clock import Clock, SystemClock
from fogline.errors import Corrupt, FoglineError, Unavailable
from fogline.topics import down
from fogline_hub.signer.bounds import MAX_SEALS
from fogline_hub.signer.messages import (
    Answer,
    AskDeviceKeys,
    AskUpKey,
    Data,
    DeviceKeys,
    Failed,
    Kind,
    Payloads,
    RenewAuto,
    Request,
    Seal,
    SealItem,
    SignAuto,
    SignOnline,
    decode_answer,
    receive_frame,
    send,
)

RETRY_S = 0.05
"""Wait between two attempts to connect."""


class SignerClient:
    """Asks the signer. Thread-safe; calls are answered one after the other.

    A request whose answer was lost is asked again: a second seal only skips a counter, and the
    signer signs the same metadata version twice only with the same content.

    Args:
        path: The signer's socket, `DIR/run/signer.sock`.
        timeout_s: Longest wait for one answer, and for a signer that is being restarted.
        clock: Measures that.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0, clock: Clock | None = None) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._connection: socket.socket | None = None

    def seal_down(self, device: str, kind: Kind, body: bytes, ttl_s: float) -> tuple[str, bytes]:
        """Topic and payload of an authenticated message to a device.

        Args:
            device: Its id.
            kind: `desired`, `ack` or `cmd`.
            body: Serialized `fleet.Desired`, `fleet.Ack` or command.
            ttl_s: The device refuses it this many seconds from now.

        Raises:
            InvalidInput, Forbidden: the signer refuses it; see `Desk.seal`.
            Unavailable: the signer does not answer.
        """
        return self.seal_many([SealItem(device=device, kind=kind, body=body, ttl_s=ttl_s)])[0]

    def seal_many(self, items: Sequence[SealItem]) -> list[tuple[str, bytes]]:
        """Topics and payloads, in order; errors as `seal_down`, and then none is sealed."""
        sealed: list[tuple[str, bytes]] = []
        for start in range(0, len(items), MAX_SEALS):
            part = tuple(items[start : start + MAX_SEALS])
            answer = self._ask(Seal(items=part))
            if not isinstance(answer, Payloads) or len(answer.payloads) != len(part):
                raise Corrupt("the signer answered something else than what was asked")
            topics = (down(item.device, item.kind) for item in part)
            sealed.extend(zip(topics, answer.payloads, strict=True))
        return sealed

    def device_keys(self, device: str) -> tuple[bytes, bytes]:
        """A device's keys for messages up and down, 32 bytes each; for its enrolment alone."""
        answer = self._ask(AskDeviceKeys(device=device))
        if not isinstance(answer, DeviceKeys):
            raise Corrupt("the signer answered something else than what was asked")
        return answer.up, answer.down

    def up_key(self, device: str) -> bytes:
        """The key that authenticates what a device sends; constant, so keep it."""
        return self._data(AskUpKey(device=device))

    def sign_online(self, role: str, unsigned: bytes) -> bytes:
        """See `fogline_hub.signer.desk.Desk.sign_online`."""
        return self._data(SignOnline(role=role, unsigned=unsigned))

    def sign_auto(self, approval: bytes) -> bytes:
        """See `fogline_hub.signer.desk.Desk.sign_auto`."""
        return self._data(SignAuto(approval=approval))

    def renew_auto(self) -> bytes:
        """See `fogline_hub.signer.desk.Desk.renew_auto`."""
        return self._data(RenewAuto())

    def close(self) -> None:
        """Ends the connection; a later call makes a new one."""
        with self._lock:
            self._drop()

    def _data(self, request: Request) -> bytes:
        answer = self._ask(request)
        if not isinstance(answer, Data):
            raise Corrupt("the signer answered something else than what was asked")
        return answer.data

    def _ask(self, request: Request) -> Answer:
        with self._lock:
            answer = self._exchange(request)
        if isinstance(answer, Failed):
            raise _error(answer)
        return answer

    def _exchange(self, request: Request) -> Answer:
        """Asks once on the connection at hand, then on new ones until the time is up."""
        deadline = self._clock.monotonic() + self._timeout_s
        while True:
            try:
                return self._attempt(request)
            except (OSError, Unavailable) as e:
                self._drop()
                if self._clock.monotonic() >= deadline:
                    raise Unavailable(
                        f"the signer at {self._path} does not answer: {e}; is the hub running?"
                    ) from e
            except BaseException:  # the connection may hold half an answer
                self._drop()
                raise
            self._wake.wait(RETRY_S)

    def _attempt(self, request: Request) -> Answer:
        if self._connection is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(self._timeout_s)
            self._connection = made
            made.connect(str(self._path))
        send(self._connection, request)
        data = receive_frame(self._connection, self._timeout_s)
        if data is None:
            raise Unavailable("it hung up")
        return decode_answer(data)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _error(failed: Failed) -> FoglineError:
    kind = getattr(errors, failed.fault, None)
    if isinstance(kind, type) and issubclass(kind, FoglineError):
        return kind(failed.text)
    return Unavailable(failed.text)
