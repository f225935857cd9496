"""What proofs found, kept between starts: the same files need no second proof by the same build.

A plan is kept under the digest of everything that its proof depended on: the contents of the files,
what was asked, this build, its onnxruntime and the kind of processor. A folder that others could
write to is refused, since a plan in it stands for a proof.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from fogline.durable import make_private_folder, write_durably
from fogline.errors import Corrupt, Forbidden, InvalidInput
from fogline.records import canonical_json, decode_json
from fogline.runtime.fingerprint import fingerprint
from fogline.runtime.plan import ModelPlan

MAX_PLANS = 1024
"""Plans of one folder; beyond it the one that was used longest ago goes."""
MAX_PLAN_BYTES = 64 * 1024


class PlanStore:
    """Plans in a folder, a file each. What cannot be read or written is as if it were not there."""

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

    def find(self, key: str) -> ModelPlan | None:
        path = self._folder / f"{key}.json"
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PLAN_BYTES + 1)
            plan = decode_json(data[:MAX_PLAN_BYTES], ModelPlan, path.name)
            os.utime(path)
        except (OSError, Corrupt):
            return None
        return plan

    def keep(self, key: str, plan: ModelPlan) -> None:
        with suppress(OSError):
            write_durably(self._folder / f"{key}.json", canonical_json(plan))
            self._prune()

    def _prune(self) -> None:
        plans = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in plans[: max(0, len(plans) - MAX_PLANS)]:
            path.unlink(missing_ok=True)


def proof_key(files: Sequence[Path], beside: Iterable[Path], asked: bytes) -> str:
    """The digest of all that a proof depends on.

    Args:
        files: What the model is made of: their contents count.
        beside: Files that it may read numbers from: their names and sizes count.
        asked: What is asked of the proof.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(hashlib.sha256(fingerprint().encode()).digest())
    digest.update(hashlib.sha256(asked).digest())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.sha256(path.name.encode()).digest())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in beside:
        line = f"{path.name}\0{path.stat().st_size}"
        digest.update(hashlib.sha256(line.encode()).digest())
    return digest.hexdigest()
