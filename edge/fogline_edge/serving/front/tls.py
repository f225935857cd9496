"""TLS of a listener: version 1.2 and later, HTTP/2 alone, client certificates if it wants them.

Certificates of devices are short-lived and replaced on the disk while the server runs. So their
files are looked at when a connection comes, and what has changed is taken up for it and those that
follow. Connections that are open keep what they were greeted with.
"""

import logging
import ssl
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

from fogline.errors import InvalidInput
from fogline_edge.serving.calls import Tls

_LOG = logging.getLogger(__name__)

PROTOCOL = "h2"
LOOK_S = 1.0
"""How often the files are looked at, at most: three calls of stat(2)."""

T = TypeVar("T")
_Stamps = tuple[tuple[int, ...], ...]


class Renewed(Generic[T]):
    """What is made of a listener's files, and made anew when they change. For one thread."""

    def __init__(self, tls: Tls, make: Callable[[Tls], T]) -> None:
        """Makes it for the first time; raises what `make` raises.

        Args:
            tls: The files.
            make: Raises `InvalidInput` when they do not fit; the last ones that did stay in use.
        """
        self._tls = tls
        self._make = make
        self._seen = _stamps_of(tls)  # first: what changes while it is read is seen next time
        self._faulty: _Stamps | None = None
        """Stamps of files that did not fit: told once."""
        self._made = make(tls)
        self._looked = -inf

    def current(self, now: float) -> T:
        """`now` in seconds of a clock that never goes back."""
        if now - self._looked >= LOOK_S:
            self._looked = now
            stamps = _stamps_of(self._tls)
            if stamps != self._seen:
                self._renew(stamps)
        return self._made

    def _renew(self, stamps: _Stamps) -> None:
        about = {"certificate": str(self._tls.certificate)}
        try:
            self._made = self._make(self._tls)
        except InvalidInput as e:  # half of a new pair, as a rule: tried again until it fits
            if stamps != self._faulty:
                _LOG.error("TLS files have changed and do not fit", extra={"why": str(e), **about})
            self._faulty = stamps
        else:
            self._seen = stamps
            _LOG.info("TLS files were taken up", extra=about)


def context_of(tls: Tls) -> ssl.SSLContext:
    """Reads the files.

    Raises:
        InvalidInput: one of them cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([PROTOCOL])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_refuse_password)
    except (OSError, ssl.SSLError, InvalidInput) as e:
        raise InvalidInput(f"TLS: {tls.certificate} with {tls.key}: {e}") from e
    if tls.clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.clients)
        except (OSError, ssl.SSLError) as e:
            raise InvalidInput(f"TLS: {tls.clients}: {e}") from e
    return context


def _stamps_of(tls: Tls) -> _Stamps:
    """Equal as long as no file was written or replaced; links are followed."""
    paths = (tls.certificate, tls.key, *([tls.clients] if tls.clients else ()))
    return tuple(_stamp_of(path) for path in paths)


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def subject_of(connection: ssl.SSLObject) -> str:
    """Common name of the peer's verified certificate; empty without one."""
    certificate: Any = connection.getpeercert() or {}
    parts = certificate.get("subject", ())
    names = [value for part in parts for key, value in part if key == "commonName"]
    return str(names[0]) if names else ""


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise InvalidInput("the key is encrypted; give one that is not, readable by the server alone")
