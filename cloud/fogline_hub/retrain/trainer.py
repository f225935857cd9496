"""Runs a team's training code in a limited child.

The contract is one function, named `module:function` in the automation:

    train(dataset_uri: str, parent_bundle: str, params: dict, out_dir: str) -> dict

`dataset_uri` is a folder with `train.parquet`: one column an input of the model, by name and in the
model's order, then `actual` (the outcome, in the type of the model's labels), `weight` (how many
rows of traffic the row stands for) and `event_time`. `parent_bundle` is the folder of the version
that serves. The function saves the model in `out_dir` in a form that `fogline convert` reads, and
returns `{"model": NAME}` and any numbers or texts that it wants kept. It has no network, and time
and memory as the automation says.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from fogline.records import MAX_JSON_BYTES, Record, decode_json
from fogline.sandbox import Limits
from fogline_hub.automation import Retrain
from fogline_hub.convert.job import RESULT, check_left, read_left, run_job
from fogline_hub.retrain.folder import JobFolder

MAX_MODEL_BYTES = 2**31 - 1
MODULE = "fogline_hub.retrain.child"


class TrainingJob(Record, frozen=True, kw_only=True):
    """What the child is to do; paths are absolute."""

    trainer: str
    trainer_path: str
    """Folder that the trainer's module is also looked for in; empty for none."""
    dataset: str
    parent: str
    params: dict[str, Any]


class TrainingReport(Record, frozen=True, kw_only=True):
    """What the trainer returned."""

    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]
    """A file's name in the folder that it was given."""
    metrics: dict[str, str | int | float | bool | None]


def train(folder: JobFolder, retrain: Retrain, trainer_path: str) -> Path:
    """Trains anew on the gathered dataset.

    Returns:
        The saved model.

    Raises:
        InvalidInput: the trainer failed, or returned something else; the text ends with its words.
        Exhausted: it needed more memory or processor time than allowed.
        DeadlineExceeded: it needed more time.
        Corrupt: it left no plain file of the name that it returned.
    """
    out = folder.renew(folder.model)
    limits = Limits(
        memory_bytes=retrain.memory_bytes,
        timeout_s=retrain.timeout_s,
        file_bytes=MAX_MODEL_BYTES,
        network=False,
    )
    job = TrainingJob(
        trainer=retrain.trainer,
        trainer_path=trainer_path,
        dataset=str(folder.dataset.resolve()),
        parent=str(folder.parent.resolve()),
        params=retrain.params,
    )
    report, _ = run_job(
        MODULE, job, TrainingReport, folder=out, limits=limits, what=f"trainer {retrain.trainer}"
    )
    return check_left(out, report.model)


def saved_model(folder: JobFolder) -> Path:
    """What the last training saved; `Corrupt` where it is not there."""
    data = read_left(folder.model, RESULT, MAX_JSON_BYTES)
    report = decode_json(data, TrainingReport, "what the trainer returned")
    return check_left(folder.model, report.model)
