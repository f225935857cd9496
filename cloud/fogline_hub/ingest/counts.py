"""What an ingest process has done since it started, as a record and as a file for `status`."""

from pathlib import Path

from fogline.records import Record, canonical_json, decode_json

COUNTS_FILE = "ingest.json"


class IngestCounts(Record, frozen=True, kw_only=True):
    """Numbers since the process started."""

    messages: int = 0
    """Stored, each counted once."""
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    conflicts: int = 0
    """Numbers that came again with another content; also in `quarantined`."""
    unauthenticated: int = 0
    malformed: int = 0
    """Authentic or not, no message that could be identified."""
    refused: int = 0
    """Beyond a bound of this process; not acknowledged."""
    retained: int = 0
    """Ignored, since the broker had kept them from before."""
    dropped_by_devices: int = 0
    commits: int = 0
    acks: int = 0
    failed_commits: int = 0


class Tally:
    """The growing counts of one process."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(IngestCounts.__struct_fields__, 0)

    def add(self, name: str, by: int = 1) -> None:
        """Raises: KeyError: there is no such count."""
        self._counts[name] += by

    def snapshot(self) -> IngestCounts:
        return IngestCounts(**self._counts)


def write_counts(folder: Path, counts: IngestCounts) -> None:
    """Replaces the file in `folder`; not flushed to the disk, since a restart counts from 0."""
    temporary = folder / f".{COUNTS_FILE}.new"
    temporary.write_bytes(canonical_json(counts))
    temporary.rename(folder / COUNTS_FILE)


def read_counts(folder: Path) -> IngestCounts:
    """The last written counts; zeros when there are none yet.

    Raises:
        Corrupt: the file is not what was written.
    """
    path = folder / COUNTS_FILE
    if not path.exists():
        return IngestCounts()
    return decode_json(path.read_bytes(), IngestCounts, str(path))
