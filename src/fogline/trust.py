"""Names in the signed repository that hub and device agree on; no cryptography lives here.

The roles are those of The Update Framework (TUF specification 1.0.33): `root` and `targets` are
signed offline by operators, `snapshot` and `timestamp` online by the hub's signer. `auto` is a
delegation of `targets` for retrained versions, and only of the models that an operator listed.

Signed metadata is published under `TUF_URL` with consistent snapshots (`7.targets.json`). Every
other byte, the manifests that are TUF targets among them, is a blob and served by digest.
"""

from fogline.desired import Digest
from fogline.errors import InvalidInput
from fogline.ids import check_name
from fogline.records import convert

ROOT = "root"
TARGETS = "targets"
SNAPSHOT = "snapshot"
TIMESTAMP = "timestamp"
AUTO = "auto"

TUF_URL = "/tuf"
"""Path of the published metadata on the hub's origin; `timestamp.json`, `N.root.json` ..."""
BLOBS_URL = "/blobs"
"""Path of the content-addressed files on the hub's origin; `/blobs/<sha256>`, with `Range`."""

MAX_ROOT_BYTES = 512_000
MAX_TIMESTAMP_BYTES = 16_384
MAX_SNAPSHOT_BYTES = 2_000_000
MAX_TARGETS_BYTES = 5_000_000
"""Longest metadata of each role in bytes: the hub publishes none above, a device reads none."""


def auto_pattern(name: str) -> str:
    """The target paths of one model that role `auto` may sign, as a TUF path pattern.

    TUF matches level by level, so the star stands for exactly one version number.
    """
    return f"models/{check_name(name, 'model name')}/*/manifest.json"


def blob_url(digest: str) -> str:
    """Path of a blob on the hub's origin.

    Raises:
        InvalidInput: not a SHA-256 in lower-case hexadecimal.
    """
    return f"{BLOBS_URL}/{convert(digest, Digest, 'blob digest')}"


def parse_target_path(path: str) -> tuple[str, int]:
    """Model name and version of a `models/NAME/VERSION/manifest.json`.

    Raises:
        InvalidInput: another path; version 0, a sign or a leading zero included.
    """
    match path.split("/"):
        case ["models", name, version, "manifest.json"] if _is_version(version):
            return check_name(name, "model name"), int(version)
    raise InvalidInput(f"target path {path[:120]!r} is not models/NAME/VERSION/manifest.json")


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 9
