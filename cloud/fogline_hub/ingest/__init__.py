"""The process that stores what devices send, exactly once, and acknowledges it."""

from fogline_hub.ingest.counts import IngestCounts, read_counts
from fogline_hub.ingest.settings import IngestConfig

__all__ = ["IngestConfig", "IngestCounts", "read_counts"]
