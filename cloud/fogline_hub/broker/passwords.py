"""What the broker's file holds of a password.

bcrypt because it is the one hash that nats-server takes, at its least cost because the passwords
are 256 random bits: no dictionary reaches them, so a slow hash would protect nothing. It would
cost, though: nats-server checks every connection's password again at each reload, and a herd of
devices that comes back after an outage pays it at every connect (about 1 ms each at cost 4, 250 at
12).
"""

import bcrypt

from fogline.errors import InvalidInput

_COST = 4
_MIN_CHARS = 32
_MAX_BYTES = 72
"""bcrypt reads no further."""


def hash_password(password: str) -> str:
    """A bcrypt hash of a random password.

    Raises:
        InvalidInput: it is too short to be random, or longer than bcrypt reads; the text does not
            repeat it.
    """
    data = password.encode()
    if not _MIN_CHARS <= len(data) <= _MAX_BYTES:
        raise InvalidInput(
            f"a broker password of {len(data)} bytes; it must be random, "
            f"and {_MIN_CHARS} to {_MAX_BYTES} bytes long"
        )
    return bcrypt.hashpw(data, bcrypt.gensalt(_COST, prefix=b"2a")).decode()
