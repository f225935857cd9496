"""TLS of a listener: version 1.2 and later, HTTP/2 alone, client certificates if it wants them."""

import ssl
from typing import Any

from fogline.errors import InvalidInput
from fogline_edge.serving.calls import Tls

PROTOCOL = "h2"


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


def subject_of(connection: ssl.SSLObject) -> str:
    """Common name of the peer's verified certificate; empty without one."""
    certificate: Any = connection.getpeercert() or {}
    parts = certificate.get("subject", ())
    names = [value for part in parts for key, value in part if key == "commonName"]
    return str(names[0]) if names else ""


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise InvalidInput("the key is encrypted; give one that is not, readable by the server alone")
