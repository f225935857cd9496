"""Ed25519 keys in files: PEM (PKCS #8), 0600, unencrypted, one key a file.

Keys come from and go to files alone: never an argument, an environment variable or a log line.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from fogline.durable import write_durably
from fogline.errors import Corrupt, Forbidden, NotFound

MAX_SECRET_BYTES = 4096


def create_key(path: Path) -> CryptoSigner:
    """Makes and stores a key; loads an existing one, so that an interrupted set-up goes on."""
    if path.exists():
        return load_key(path)
    made = CryptoSigner.generate_ed25519()
    write_durably(path, made.private_bytes)
    return made


def load_key(path: Path) -> CryptoSigner:
    """Reads a key.

    Raises:
        NotFound: there is no such file.
        Forbidden: others than its owner may read it.
        Corrupt: it holds no Ed25519 key.
    """
    data = read_secret(path)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise Corrupt(f"{path} holds no private key in PEM form") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise Corrupt(f"{path} holds a {type(key).__name__}, not an Ed25519 key")
    return CryptoSigner(key)


def read_secret(path: Path) -> bytes:
    """A secret file's bytes, at most `MAX_SECRET_BYTES`.

    Raises:
        NotFound: there is no such file.
        Forbidden: others than its owner may read it.
        Corrupt: it is longer than any key.
    """
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode & 0o777
            data = file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError as e:
        raise NotFound(f"there is no key {path}; is this the folder of that hub's keys?") from e
    if mode & 0o077:
        raise Forbidden(f"{path} is open to others ({mode:o}); run: chmod 600 {path}")
    if len(data) > MAX_SECRET_BYTES:
        raise Corrupt(f"{path} is longer than {MAX_SECRET_BYTES} bytes, so it is no key")
    return data
