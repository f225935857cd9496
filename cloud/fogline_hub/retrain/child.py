"""`python -m fogline_hub.retrain.child`: the limited child that runs a trainer."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fogline.errors import InvalidInput, NotFound
from fogline.records import convert
from fogline_hub.convert.job import serve_job
from fogline_hub.retrain.trainer import TrainingJob, TrainingReport


def run(job: TrainingJob, folder: Path) -> TrainingReport:
    """Calls the trainer; what it returns becomes a strict record.

    Raises:
        NotFound: there is no such module or function.
        InvalidInput: it returned something else than its contract says.
    """
    function = find(job.trainer, job.trainer_path)
    left = function(job.dataset, job.parent, job.params, str(folder))
    if not isinstance(left, dict) or "model" not in left:
        raise InvalidInput(
            f"trainer {job.trainer} returned {type(left).__name__}; it has to return a dict with "
            "`model`, the name of the file that it saved"
        )
    metrics = {str(k): v for k, v in left.items() if k != "model"}
    plain = {"model": left["model"], "metrics": metrics}
    return convert(plain, TrainingReport, f"what trainer {job.trainer} returned")


def find(trainer: str, path: str) -> Callable[[str, str, dict[str, Any], str], object]:
    """The function behind `module:function`."""
    if path:
        sys.path.insert(0, path)
    module, _, name = trainer.partition(":")
    missing = NotFound(
        f"trainer {trainer} cannot be found; install it beside the hub, or name its folder as "
        "`trainer_path` under [jobs] in hub.toml"
    )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{module}.".startswith(f"{e.name}."):
            raise  # what the trainer itself needs is not installed
        raise missing from e
    if found is None:
        raise missing
    if not callable(found):
        raise InvalidInput(f"trainer {trainer} is no function")
    function: Callable[[str, str, dict[str, Any], str], object] = found
    return function


if __name__ == "__main__":
    sys.exit(serve_job(TrainingJob, run))
