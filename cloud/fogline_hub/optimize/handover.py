"""What the parent of a search tells its children, and what they leave."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline.schema import Schema
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.optimize.choice import Earning
from fogline_hub.optimize.measurement import Measurement, Timing
from fogline_hub.optimize.profile import Profile
from fogline_hub.optimize.variants import BASE

__all__ = ["BASE"]

MODEL = "model.onnx"
"""What a child leaves, beside `WEIGHTS` where the model needs it."""
WEIGHTS = "weights.bin"
ROW = "row.npz"
"""One held-out row, for the children that load and time."""
ANSWERS = "answers.npz"
"""What the base says of all of them, for the children that ask variants."""


class RowsSource(Record, frozen=True, kw_only=True):
    """Where rows come from, and which are for what; paths are absolute."""

    data: str
    sample: str = ""
    """Rows to tune with; empty: a part of `data` is set aside."""
    sample_prefix: str = ""
    """Begins the names of the model's columns in the sample."""
    target: str | None = None
    limits: DatasetLimits = DatasetLimits()
    max_tuning_rows: Annotated[int, Meta(ge=8)] = 512


class VariantJob(Record, frozen=True, kw_only=True):
    """Make one variant of a model, screen it, and ask it the held-out rows."""

    kind: str
    """`BASE`, or a name of `VARIANTS`."""
    model: str
    schema: Schema | None = None
    """None for a bare ONNX file: as its session says."""
    golden: str = ""
    answers: str = ""
    """The file `ANSWERS` that the base's child left; empty for that one."""
    rows: RowsSource
    earning: Earning
    profile: Profile
    seconds: Annotated[float, Meta(gt=0)]
    """For the search of sensitive nodes."""


class VariantReport(Record, frozen=True, kw_only=True):
    measurement: Measurement
    applicable: tuple[str, ...] = ()
    """Of the base: variants that its graph gives reason to try."""
    data_sha256: str


class RacingModel(Record, frozen=True, kw_only=True):
    name: str
    path: str
    prepack: bool = True


class RaceJob(Record, frozen=True, kw_only=True):
    """Time several models in turn on one row."""

    models: tuple[RacingModel, ...]
    row: str
    threads: tuple[int, ...]
    budget_s: Annotated[float, Meta(gt=0)]
    """Of alternating runs, for each number of threads."""


class RaceReport(Record, frozen=True, kw_only=True):
    timings: dict[str, tuple[Timing, ...]]
    """One for each number of threads."""
    gflops: float
    """What this machine reached in a product of matrices at one thread."""


class LoadJob(Record, frozen=True, kw_only=True):
    """Load a model and answer one row, for the memory that this takes."""

    model: str
    row: str
    prepack: bool = True


class LoadReport(Record, frozen=True, kw_only=True):
    outputs: int
