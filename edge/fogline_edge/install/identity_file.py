"""The agent's `identity.json`, 0600: read at each start, written once by `enroll`."""

from pathlib import Path

from fogline.errors import Forbidden, NotFound
from fogline.identity import Identity
from fogline.records import decode_json

IDENTITY = "identity.json"


def load_identity(folder: Path) -> Identity:
    """What enrolment stored.

    Raises:
        NotFound: the folder is not enrolled.
        Forbidden: others than its owner may read it.
        Corrupt: the file is damaged.
    """
    path = folder / IDENTITY
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except FileNotFoundError as e:
        raise NotFound(
            f"{folder} is not enrolled; run: fogline agent enroll --data {folder} "
            "--hub URL --token TOKEN --name NAME"
        ) from e
    if mode & 0o077:
        raise Forbidden(f"{path} is open to others ({mode:o}); run: chmod 600 {path}")
    return decode_json(data, Identity, str(path))
