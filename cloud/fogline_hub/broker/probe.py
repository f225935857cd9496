"""One MQTT CONNECT, to learn whether the broker takes a login; nothing else of MQTT.

paho keeps connections; here one packet and its four-byte answer say more: accepted, refused, or
nobody there (MQTT 3.1.1, sections 3.1 and 3.2).
"""

import secrets
import socket
from enum import Enum

from fogline.addresses import Address
from fogline.mqtt import Login

_CONNACK, _DISCONNECT = 0x20, b"\xe0\x00"
_USER_PASSWORD_CLEAN = 0xC2
_KEEPALIVE_S = 10


class Answer(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    SILENT = "silent"
    """Nobody listens, or it is not an MQTT broker."""


def ask(address: Address, username: str, password: str, timeout_s: float = 2.0) -> Answer:
    """Connects once, with a client id of its own, and disconnects."""
    login = Login(client_id=f"probe-{secrets.token_hex(8)}", username=username, password=password)
    try:
        with socket.create_connection((address.host, address.port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(_connect(login))
            answer = _receive(connection, 4)
            if answer[:1] != bytes([_CONNACK]) or len(answer) < 4:
                return Answer.SILENT
            if answer[3] != 0:
                return Answer.REFUSED
            connection.sendall(_DISCONNECT)
            return Answer.ACCEPTED
    except OSError:
        return Answer.SILENT


def _connect(login: Login) -> bytes:
    variable = _text("MQTT") + bytes([4, _USER_PASSWORD_CLEAN]) + _KEEPALIVE_S.to_bytes(2, "big")
    body = variable + _text(login.client_id) + _text(login.username) + _text(login.password)
    return bytes([0x10]) + _length(len(body)) + body


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _length(value: int) -> bytes:
    """Seven bits a byte, least first; the high bit says that another follows (section 2.2.3)."""
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data
