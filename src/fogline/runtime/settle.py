"""Which plan a model gets: which are tried, and which of those that were measured is taken; pure.

Figures behind the thresholds: `docs/serving.md`, "Runtime".
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fogline.runtime.plan import MemoryNeed, ModelPlan, Placement
from fogline.schema import Field

LOOP_ROW_US = 500.0
"""A run of one row of at most this may happen on the event loop, microseconds."""
LOOP_STACK_US = 2_000.0
"""Longest stack on the event loop: no other request is answered meanwhile."""
POOL_STACK_US = 50_000.0
"""Longest stack on a thread of the pool: the requests in it wait for each other."""
ARENA_ROW_US = 200.0
"""Below this, runs allocate too little for an arena to matter."""
PREPACK_BYTES = 8 * 2**20
"""Below this, a second copy of the weights is not worth the question."""
NEARLY = 1.1
"""A plan whose runs take at most this times another's is as fast."""
ROOM = 3
"""Another plan is tried only where this times the first one's peak is allowed."""

_ENDLESS = frozenset(("Loop", "Scan", "If", "SequenceMap"))
_BY_LENGTH = frozenset(
    ("StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer",
     "ai.onnx.ml.TfIdfVectorizer", "com.microsoft.Tokenizer")
)  # fmt: skip
"""Take as long as their texts are long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Time under another plan over time under the first, measured in turns."""

    one_row: float
    stacked: float
    """Of a stack of the size that the first plan uses; that of one row where it uses none."""


def placement_of(
    one_row_us: float, *, inputs: Sequence[Field], operators: Collection[str], is_sized: bool
) -> Placement:
    """Where a model's runs may happen.

    On the loop only what is quick for every input that may come: no control flow, no free dimension
    but the rows (whose number is known before a run), no size or length that a value decides.

    Args:
        one_row_us: Time of a run of one row; 0: not known.
        inputs: As declared.
        operators: Of the graph and all graphs inside it.
        is_sized: Values of inputs decide sizes inside (`GraphFacts.needs`).
    """
    is_quick = 0 < one_row_us <= LOOP_ROW_US
    is_even = not is_sized and _ENDLESS.isdisjoint(operators) and _BY_LENGTH.isdisjoint(operators)
    has_one_form = all(-1 not in f.shape[1:] for f in inputs)
    return "loop" if is_quick and is_even and has_one_form else "pool"


def stack_limit_us(placement: Placement) -> float:
    return LOOP_STACK_US if placement == "loop" else POOL_STACK_US


def alternatives(
    first: ModelPlan, size_bytes: int, free_bytes: int
) -> tuple[Mapping[str, bool], ...]:
    """Changes of a plan that are worth a trial, one at a time.

    Args:
        first: The plan that was asked for, measured.
        size_bytes: Of the model's files.
        free_bytes: What the child may hold beside what it holds now.
    """
    need = first.memory or MemoryNeed()
    if ROOM * need.load_peak_bytes > free_bytes:
        return ()
    found = []
    if size_bytes >= PREPACK_BYTES:
        found.append({"prepack": not first.prepack})
    if first.one_row_us >= ARENA_ROW_US:
        found.append({"arena": not first.arena})
    return tuple(found)


def is_better(other: ModelPlan, first: ModelPlan, ratio: Ratio) -> bool:
    """Whether the other plan is taken.

    It is where it gains a tenth of the time one way and costs no tenth the other way, or where it
    is as fast both ways and takes a tenth less anonymous memory. An arena is taken only for time:
    it holds whatever the largest request so far took.
    """
    slowest, fastest = max(ratio.one_row, ratio.stacked), min(ratio.one_row, ratio.stacked)
    if slowest > NEARLY:
        return False
    if fastest * NEARLY < 1:
        return True
    took, takes = ((p.memory or MemoryNeed()).anonymous_bytes for p in (first, other))
    return takes * NEARLY < took and not (other.arena and not first.arena)
