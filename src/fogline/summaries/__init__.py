"""Mergeable summaries of all traffic: partial, merge, finalise. Pure numpy, the same on every side.

A `Reference` says what the training data looked like, in cells; a `Partial` counts traffic in those
same cells. Counts are integers, so partials of one scope add up to the summary of the whole bit for
bit, in any order; the float moments do so within a relative error of 1e-9.
"""

from fogline.summaries.categories import CategoryCells
from fogline.summaries.confusion import ConfusionCounts, accuracy_counts
from fogline.summaries.labels import CategoryIndex, category_text
from fogline.summaries.latency import LatencyBuckets
from fogline.summaries.numeric import NumberCells, cell_counts
from fogline.summaries.partial import Partial
from fogline.summaries.reference import FieldReference, Reference, ReferenceLimits, build_reference
from fogline.summaries.scope import Scope

__all__ = [
    "CategoryCells",
    "CategoryIndex",
    "ConfusionCounts",
    "FieldReference",
    "LatencyBuckets",
    "NumberCells",
    "Partial",
    "Reference",
    "ReferenceLimits",
    "Scope",
    "accuracy_counts",
    "build_reference",
    "category_text",
    "cell_counts",
]
