"""Bounds of one MQTT connection, and the reading of its address."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta

from fogline.addresses import Address, parse_address
from fogline.errors import InvalidInput, Unsupported
from fogline.records import Record

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class MqttConfig(Record, frozen=True, kw_only=True):
    """Every bound of an `MqttConnection`, its unit in its name."""

    keepalive_s: Annotated[int, Meta(ge=1, le=1160)] = 30
    """Silence after which a ping goes out; cloud brokers allow at most 1,160 s."""
    connect_timeout_s: Seconds = 10.0
    """Longest wait for the TCP connection, and again for the broker's answers to CONNECT and
    SUBSCRIBE."""
    max_in_flight: Annotated[int, Meta(ge=1, le=1024)] = 64
    """QoS 1 messages without a PUBACK; the next `publish` raises `Exhausted`. Cloud brokers take
    100."""
    max_received: Annotated[int, Meta(ge=1, le=65_536)] = 2048
    """Received messages that wait for `on_message`; more are left without a PUBACK, so that the
    broker keeps them, and counted."""
    reconnect_base_s: Seconds = 0.5
    reconnect_cap_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a client shows to the broker; the password stays out of `repr`, so out of logs."""

    client_id: str
    username: str
    password: str = field(repr=False)


def broker_address(text: str) -> Address:
    """Reads `HOST:PORT` of a broker on this machine.

    Raises:
        InvalidInput: not HOST:PORT, or the port is 0.
        Unsupported: the host is not a loopback address.
    """
    address = parse_address(text)
    if address.port == 0:
        raise InvalidInput(f"broker address {text[:80]!r}: a broker has a port from 1 to 65535")
    if not ip_address(address.host).is_loopback:
        raise Unsupported(
            f"broker address {address} is not on this machine: without TLS a password would cross "
            "the network in the clear; use a loopback address or a tunnel that ends on one"
        )
    return address
