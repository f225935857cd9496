"""What a converter gets and gives: the model as it was trained, and as it will be served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from fogline.errors import InvalidInput, NotFound, Unsupported
from fogline.schema import Schema
from fogline_hub.convert.dataset import Dataset, shown_names
from fogline_hub.convert.frame import Frame
from fogline_hub.convert.parity import Answers

SUPPORTED = (
    "supported are .pkl and .joblib files of a fitted scikit-learn estimator or Pipeline, "
    ".skops files of such, .ubj and .json files of XGBoost, .txt files of LightGBM, .cbm files of "
    "CatBoost, .pt2 and .pt files of PyTorch, .keras files, folders of a SavedModel, and .onnx "
    "files"
)


FRAMEWORKS = {
    ".pkl": "sklearn",
    ".joblib": "sklearn",
    ".skops": "skops",
    ".onnx": "onnx",
    ".pt2": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".ubj": "xgboost",
    ".json": "xgboost",
    ".txt": "lightgbm",
    ".cbm": "catboost",
}
"""The framework that a file's suffix names."""


class Refused(Exception):
    """The original model called some rows invalid; what it said is the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to write the model as ONNX."""

    model: bytes
    schema: Schema
    plan: str
    """What was chosen and why, for the report."""
    lengths: tuple[tuple[tuple[str, int], ...], ...] = ()
    """Axes (input, axis) of input tensors beside the batch that are free, those of one length
    together: the proof tries them at other lengths than the sample's."""
    takes_no_rows: bool = True
    """False where a run without rows would end the process, and not be refused."""


class Trained(Protocol):
    """A loaded source."""

    framework: str
    kind: str
    """The class, such as `Pipeline(StandardScaler, MLPClassifier)`."""
    labels: tuple[str, ...]
    """Class names in the model's order; empty for a model without classes."""
    packages: tuple[str, ...]
    """Names of the distributions whose versions decide what the model answers."""

    def select(self, sample: Dataset, target: str | None) -> Frame:
        """The columns that it takes, in order; raises `InvalidInput` when they are not there."""

    def answers(self, frame: Frame) -> Answers:
        """What it says in its own precision; raises `Refused` for rows that it calls invalid."""

    def candidates(self, frame: Frame) -> Sequence["Attempt"]:
        """Ways to convert it, the best first, for rows such as `frame`."""


@runtime_checkable
class TakesLabels(Protocol):
    """A source that does not know the names of its classes."""

    def name_labels(self, labels: tuple[str, ...]) -> None:
        """Takes them, in the order of the class output, before `select`."""


class Attempt(Protocol):
    def __call__(self) -> Candidate:
        """Raises `Unsupported` when this way is closed."""


def check_source(path: Path) -> str:
    """The framework of a source file, by its name.

    Raises:
        NotFound: there is no such file.
        Unsupported: no converter reads it.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise Unsupported(f"{path}: no folder that is converted; {SUPPORTED}")
    framework = FRAMEWORKS.get(path.suffix)
    if framework is None:
        raise Unsupported(
            f"{path.name}: {path.suffix or 'such'} files are not converted; {SUPPORTED}"
        )
    return framework


def select_columns(
    sample: Dataset, target: str | None, names: Sequence[str] | None, count: int | None
) -> Frame:
    """The model's columns of a sample, by name if it knows their names, else all but the target.

    Args:
        sample: The table.
        target: Its column with the actual labels.
        names: The model's columns.
        count: How many it takes; None if it does not say.

    Raises:
        InvalidInput: a column is missing, or without names their number is another.
    """
    others = sample.features(target)
    if names is not None:
        return {name: sample.column(name) for name in names}
    if count is not None and len(others) != count:
        besides = f" besides the target {target!r}" if target is not None else ""
        raise InvalidInput(
            f"{sample.name}: the model takes {count} columns, without names; the sample has "
            f"{len(others)}{besides}: {shown_names(tuple(others))}. Leave out the others, name the "
            "target with --target, or train on a table with column names"
        )
    return others
