"""Secrets of 256 bits: made, derived, and what is stored of them.

A device's secrets are derived from the key that it made itself, so the hub can answer a repeated
enrolment with the same identity although it stores only hashes, and nothing at rest on the hub can
stand in for a device.
"""

import hashlib
import hmac
import secrets

DEVICE_PREFIX = "fld1."
"""What a device's bearer token starts with."""


def new_secret() -> str:
    """256 random bits as 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """What is stored of a secret: SHA-256, hexadecimal; against 256 random bits that is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def api_secret(device_key: str, device: str) -> str:
    """The bearer token of a device's HTTP calls."""
    return DEVICE_PREFIX + _derived(device_key, "api", device)


def mqtt_password(device_key: str, device: str) -> str:
    return _derived(device_key, "mqtt-password", device)


def mqtt_client_id(device_key: str, device: str) -> str:
    return _derived(device_key, "mqtt-client", device)[:32]


def _derived(device_key: str, purpose: str, device: str) -> str:
    content = f"fogline/1/device/{purpose}/{device}".encode()
    return hmac.new(bytes.fromhex(device_key), content, hashlib.sha256).hexdigest()
