"""The signer's folder of keys: made at `hub init`, read by the signer process alone.

Ed25519 keys of the online TUF roles as PEM, and two 256-bit masters from which each device's
message keys derive (`fogline.wire.auth`). All 0600 in a folder that is 0700.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from fogline.durable import make_private_folder, write_durably
from fogline.errors import Corrupt, Forbidden, NotFound
from fogline_hub.delivery import OnlineKeys
from fogline_hub.delivery.keyfile import create_key, load_key, read_secret

MASTER_BYTES = 32
ROOT_PIN = "root.json"
"""The first root; the signer believes no other targets keys than those that follow from it."""

_DOWN, _UP = "down.key", "up.key"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Keys:
    """The opened folder; its repr shows no key."""

    snapshot: CryptoSigner
    timestamp: CryptoSigner
    auto: CryptoSigner
    down: bytes
    up: bytes

    def public(self) -> OnlineKeys:
        return OnlineKeys(
            snapshot=self.snapshot.public_key,
            timestamp=self.timestamp.public_key,
            auto=self.auto.public_key,
        )


def create_keys(folder: Path) -> Keys:
    """Makes what is missing of the keys, and opens them."""
    make_private_folder(folder)
    for role in ("snapshot", "timestamp", "auto"):
        create_key(folder / f"{role}.pem")
    for name in (_DOWN, _UP):
        if not (folder / name).exists():
            write_durably(folder / name, secrets.token_bytes(MASTER_BYTES))
    return load_keys(folder)


def load_keys(folder: Path) -> Keys:
    """Opens the keys.

    Raises:
        NotFound: a key is missing.
        Forbidden: the folder or a key is open to others.
        Corrupt: a file holds no such key.
    """
    if not folder.is_dir():
        raise NotFound(f"there are no keys in {folder}; run `fogline hub init` first")
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise Forbidden(f"{folder} is open to others ({mode:o}); run: chmod 700 {folder}")
    return Keys(
        snapshot=load_key(folder / "snapshot.pem"),
        timestamp=load_key(folder / "timestamp.pem"),
        auto=load_key(folder / "auto.pem"),
        down=_master(folder / _DOWN),
        up=_master(folder / _UP),
    )


def _master(path: Path) -> bytes:
    data = read_secret(path)
    if len(data) != MASTER_BYTES:
        raise Corrupt(f"{path} holds {len(data)} bytes, not {MASTER_BYTES}")
    return data
