"""What the parent of a conversion tells its child, and what the child leaves in its folder."""

from datetime import datetime

from fogline.records import Record
from fogline.schema import Schema
from fogline.summaries import Reference
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.lineage import Lineage
from fogline_hub.convert.parity import Parity

MODEL = "model.onnx"
GOLDEN = "golden.pb"
SAMPLE = "reference_sample.parquet"


class ConversionJob(Record, frozen=True, kw_only=True):
    """What the child is to do; paths are absolute."""

    source: str
    framework: str
    sample: str
    holdout: str | None
    target: str | None
    season_s: float
    created_at: datetime
    limits: DatasetLimits
    labels: tuple[str, ...] = ()


class ConversionReport(Record, frozen=True, kw_only=True):
    """What the child found; the parent adds what isolation held."""

    schema: Schema
    parity: Parity
    reference: Reference
    lineage: Lineage
    held_out_rows: int
    held_out_correct: int
