"""Where a retraining's files lie, below the hub's `jobs` folder; each step makes its own anew."""

import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from fogline.durable import make_private_folder
from fogline.errors import Unavailable


@dataclass(frozen=True, slots=True)
class JobFolder:
    """`jobs/<id>`; the trainer is told of `dataset` alone, never of what it will be judged on."""

    root: Path

    @property
    def parent(self) -> Path:
        """The champion's bundle."""
        return self.root / "parent"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def train(self) -> Path:
        return self.dataset / "train.parquet"

    @property
    def facts(self) -> Path:
        return self.dataset / "dataset.json"

    @property
    def judging(self) -> Path:
        return self.root / "judging"

    @property
    def holdout(self) -> Path:
        return self.judging / "holdout.parquet"

    @property
    def sample(self) -> Path:
        """Inputs and actuals of the training rows as traffic has them, for the converter."""
        return self.judging / "sample.parquet"

    @property
    def held_out(self) -> Path:
        """The same of the held-out rows."""
        return self.judging / "held_out.parquet"

    @property
    def model(self) -> Path:
        """What the trainer leaves."""
        return self.root / "model"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def scoring(self) -> Path:
        return self.root / "scoring"

    def renew(self, folder: Path) -> Path:
        """Makes one of the folders anew and empty.

        Raises:
            Unavailable: the disk is full or failed.
        """
        try:
            make_private_folder(self.root)
            if folder.exists():
                shutil.rmtree(folder)
            return make_private_folder(folder)
        except OSError as e:
            raise Unavailable(f"{folder} cannot be made: {e.strerror}") from e


def prune(jobs: Path, running: Set[int], keep: int) -> None:
    """Removes the files of old retrainings, since they hold users' data.

    Args:
        jobs: The hub's folder of jobs.
        running: Retrainings that have not ended; theirs stay.
        keep: How many of the others stay, the newest.
    """
    ended = sorted({int(p.name) for p in jobs.glob("[0-9]*") if p.name.isdecimal()} - running)
    for old in ended[: max(0, len(ended) - keep)]:
        shutil.rmtree(jobs / str(old), ignore_errors=True)
