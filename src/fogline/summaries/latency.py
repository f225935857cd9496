"""How long requests took: counts in powers of two of microseconds."""

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt
from fogline.summaries.counts import read_counts
from fogline.wire import fleet_pb2

BUCKETS = 40
"""[0, 1), [1, 2), [2, 4) ... microseconds; the last one is open and begins at 76 hours."""
_EDGES = 2 ** np.arange(BUCKETS - 1, dtype=np.int64)


class LatencyBuckets:
    """Counts of requests by duration, int64 [`BUCKETS`]."""

    __slots__ = ("counts",)

    def __init__(self, counts: NDArray[np.int64] | None = None) -> None:
        self.counts = np.zeros(BUCKETS, dtype=np.int64) if counts is None else counts

    def add(self, latency_us: NDArray[np.generic]) -> None:
        places = np.searchsorted(_EDGES, np.asarray(latency_us).reshape(-1), side="right")
        self.counts += np.bincount(places, minlength=BUCKETS)

    def merge(self, other: "LatencyBuckets") -> "LatencyBuckets":
        return LatencyBuckets(self.counts + other.counts)

    def quantile_us(self, q: float) -> float:
        """The `q` quantile in microseconds, interpolated within its bucket; NaN without requests.

        The true value lies in the same bucket, so it is off by a factor of two at most.
        """
        total = int(self.counts.sum())
        if total == 0:
            return float("nan")
        below = np.cumsum(self.counts)
        at = int(np.searchsorted(below, q * total, side="left"))
        low, high = (0.0, 1.0) if at == 0 else (float(_EDGES[at - 1]), float(_EDGES[at - 1] * 2))
        inside = (q * total - (below[at] - self.counts[at])) / max(1, int(self.counts[at]))
        return low + (high - low) * float(inside)

    def to_message(self) -> fleet_pb2.Latency:
        used = int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 0
        return fleet_pb2.Latency(buckets=self.counts[:used].tolist())

    @staticmethod
    def from_message(message: fleet_pb2.Latency) -> "LatencyBuckets":
        used = len(message.buckets)
        if used > BUCKETS:
            raise Corrupt(f"latency: {used} buckets, at most {BUCKETS}")
        padded = [*message.buckets, *([0] * (BUCKETS - used))]
        return LatencyBuckets(read_counts(padded, BUCKETS, "latency"))
