"""Listen addresses: `HOST:PORT` as text, and the rule that nothing listens beyond loopback yet."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from fogline.errors import InvalidInput, Unsupported


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a TCP port; port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Reads `127.0.0.1:8001`, `localhost:8001` or `[::1]:8001`.

    Names other than `localhost` are not looked up: a listener's reach must not depend on a
    name server.

    Raises:
        InvalidInput: not an address and a port from 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65535:
        raise InvalidInput(f"{text[:80]!r} is not HOST:PORT with a port from 0 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    host = "127.0.0.1" if host == "localhost" else host[1:-1] if bracketed else host
    try:
        ip = ip_address(host)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r}: the host must be an IP address or localhost; write 127.0.0.1:PORT"
        ) from None
    if isinstance(ip, IPv6Address) != bracketed:
        raise InvalidInput(f"{text[:80]!r}: write an IPv6 address as [ADDRESS]:PORT")
    return Address(str(ip), int(port))


def parse_listen_address(text: str) -> Address:
    """As `parse_address`, for a listener.

    Raises:
        InvalidInput: not an address.
        Unsupported: it can be reached from other machines.
    """
    address = parse_address(text)
    if not ip_address(address.host).is_loopback:
        raise Unsupported(
            f"{address} can be reached from other machines, and this build has no identities and "
            "TLS to protect it: listen on loopback, as 127.0.0.1:PORT"
        )
    return address
