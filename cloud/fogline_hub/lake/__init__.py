"""The lake: Delta tables with fenced, exactly-once appends. Sole owner of deltalake."""

from fogline_hub.lake.captured import count_labelled, samples
from fogline_hub.lake.lake import Lake, LakeTable
from fogline_hub.lake.note import State
from fogline_hub.lake.partials import StoredSummary, summaries
from fogline_hub.lake.ranges import MAX_SEQ, Accepted, RangeSet, Source
from fogline_hub.lake.writer import TableWriter

__all__ = [
    "MAX_SEQ",
    "Accepted",
    "Lake",
    "LakeTable",
    "RangeSet",
    "Source",
    "State",
    "StoredSummary",
    "TableWriter",
    "count_labelled",
    "samples",
    "summaries",
]
