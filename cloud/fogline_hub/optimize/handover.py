"""What the parent of a search tells its children, and what they leave."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record
from fogline.schema import Schema
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.optimize.choice import Earning, Measurement

BASE = "base"
"""The model that variants are made from, in the child's words."""


class SearchJob(Record, frozen=True, kw_only=True):
    """Make variants of a model and measure them; paths are absolute."""

    model: str
    golden: str
    schema: Schema
    data: str
    target: str | None
    earning: Earning
    timing_budget_s: Annotated[float, Meta(gt=0)]
    limits: DatasetLimits


class SearchReport(Record, frozen=True, kw_only=True):
    """The base first; the file of a kept variant is `NAME.onnx`."""

    measurements: tuple[Measurement, ...]
    data_sha256: str


class LoadJob(Record, frozen=True, kw_only=True):
    """Load a model and answer the golden cases, for the memory that this takes."""

    model: str
    golden: str


class LoadReport(Record, frozen=True, kw_only=True):
    cases: int
