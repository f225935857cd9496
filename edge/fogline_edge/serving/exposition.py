"""Prometheus's text format, 0.0.4; pure.

Source: "Exposition formats" of the Prometheus documentation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_VALUE = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper edge; one more than edges, the last is of what lies above all."""

    edges: Sequence[float]
    counts: Sequence[int]
    total: float
    """Sum of all that was observed."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its label sets."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[tuple[Labels, float | Histogram]]


def expose(families: Iterable[Family]) -> str:
    """The text of all families; one without samples is left out."""
    return "".join(line + "\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    name = family.name
    for i, (labels, value) in enumerate(family.samples):
        if i == 0:
            yield f"# HELP {name} {family.help.translate(_HELP)}"
            yield f"# TYPE {name} {family.kind}"
        if not isinstance(value, Histogram):
            yield f"{name}{_labels(labels)} {_number(value)}"
            continue
        counts = list(accumulate(value.counts))
        edges = (*(f"{edge:g}" for edge in value.edges), "+Inf")
        for edge, count in zip(edges, counts, strict=True):
            yield f"{name}_bucket{_labels({**labels, 'le': edge})} {count}"
        yield f"{name}_sum{_labels(labels)} {_number(value.total)}"
        yield f"{name}_count{_labels(labels)} {counts[-1]}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{k}="{v.translate(_VALUE)}"' for k, v in labels.items()) + "}"


def _number(value: float) -> str:
    return repr(value).replace("inf", "Inf")
