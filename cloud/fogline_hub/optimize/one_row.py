"""One row of a model's inputs as a file, for children that load models and time them.

It imports little: what a child imports counts as memory of the model that it measures.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fogline.runtime import Session
from fogline.tensors import Array


def write_row(path: Path, session: Session, tensors: Mapping[str, Array]) -> None:
    """Writes one row's tensors, in the order of the session's inputs: names may be anything."""
    arrays = [tensors[f.name] for f in session.inputs]
    texts = [a.astype(np.str_) if a.dtype.kind == "O" else a for a in arrays]
    np.savez(path, *texts)


def read_row(path: Path, session: Session) -> dict[str, Array]:
    """The row for a session with the same inputs."""
    with np.load(path, allow_pickle=False) as arrays:
        return {f.name: arrays[f"arr_{i}"] for i, f in enumerate(session.inputs)}
