"""What proofs found, kept between starts: the same files need no second proof by the same build.

What was found is kept under the digest of everything that decided it: the model's contents, what
was asked, this build, its onnxruntime and the kind of processor; and it holds only with the files
beside the model that were read with it, by their digests. A folder that others could write to is
refused, and so is a file in it that another user wrote, since what it says stands for a proof.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fogline.desired import Digest
from fogline.durable import make_private_folder, write_durably
from fogline.errors import Corrupt, Forbidden, InvalidInput, NotFound
from fogline.records import Record, canonical_json, decode_json
from fogline.runtime.fingerprint import fingerprint
from fogline.runtime.plan import ModelPlan

MAX_PLANS = 1024
"""Plans of one folder; beyond it the one that was used longest ago goes."""
MAX_PLAN_BYTES = 64 * 1024


class Kept(Record, frozen=True, kw_only=True):
    """What one proof found."""

    plan: ModelPlan
    external_data: Mapping[str, Digest] = {}
    """Of the files that the graph reads constants from, by their places beside the model."""


class PlanStore:
    """Findings in a folder, a file each; what cannot be read or written is as if not there."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if it is not there.

        Raises:
            InvalidInput: it cannot be made.
            Forbidden: it is another user's, or others may write to it.
        """
        if folder.is_dir() and folder.stat().st_mode & 0o022:
            raise Forbidden(
                f"{folder}: others may write to it, and what it holds stands for proofs"
            )
        try:
            self._folder = make_private_folder(folder)
        except OSError as e:
            raise InvalidInput(f"{folder}: cannot keep plans: {e.strerror or e}") from e
        if folder.stat().st_uid != os.geteuid():
            raise Forbidden(f"{folder}: is another user's; what it holds stands for proofs")

    def find(self, key: str) -> Kept | None:
        path = self._folder / f"{key}.json"
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                    return None
                data = file.read(MAX_PLAN_BYTES + 1)
            kept = decode_json(data[:MAX_PLAN_BYTES], Kept, path.name)
            os.utime(path)
        except (OSError, Corrupt):
            return None
        return kept

    def keep(self, key: str, kept: Kept) -> None:
        with suppress(OSError):
            write_durably(self._folder / f"{key}.json", canonical_json(kept))
            self._prune()

    def _prune(self) -> None:
        plans = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in plans[: max(0, len(plans) - MAX_PLANS)]:
            path.unlink(missing_ok=True)


def proof_key(model_sha256: str, asked: bytes) -> str:
    """The digest of what decides a proof, but for files that the graph may name beside itself.

    Args:
        model_sha256: Digest of the model file.
        asked: What is asked of the proof.
    """
    parts = (fingerprint().encode(), asked, model_sha256.encode())
    return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def file_sha256(path: Path) -> str:
    """Raises `NotFound` where a file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise NotFound(f"{path}: {e.strerror}") from e
