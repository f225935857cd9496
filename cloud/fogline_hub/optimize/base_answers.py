"""What the base said of the held-out rows, as a file: asked once, read by every variant's child."""

from pathlib import Path
from typing import Any

import numpy as np

from fogline_hub.convert.parity import Answers


def write_answers(path: Path, answers: Answers) -> None:
    arrays: dict[str, Any] = {"numbers": answers.numbers, "type": answers.dtype.str}
    if answers.labels is not None:
        arrays["labels"] = answers.labels
    np.savez(path, **arrays)


def read_kept_answers(path: Path) -> Answers:
    with np.load(path, allow_pickle=False) as arrays:
        return Answers(
            labels=arrays.get("labels"),
            numbers=arrays["numbers"],
            dtype=np.dtype(str(arrays["type"])),
        )
