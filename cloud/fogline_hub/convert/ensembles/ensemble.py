"""Trees as arrays, however they were trained: what every tree library's model is read into.

All nodes of all trees stand in one table; a node is a leaf or asks one question of one column and
has two children that come after it. Numbers are float64, which holds the float32 thresholds and
leaves of other libraries exactly. What a library does to its input before it compares (rounding to
float32, truncating categories, taking zero for missing) is part of the ensemble, so that one
writer and one evaluation answer for all of them. A missing value is NaN.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline.errors import Corrupt

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_NODES = 50_000_000
"""Of one ensemble, over all trees."""
MAX_LEAF_VALUES = 200_000_000
"""Nodes times values of a leaf."""


class Mode(IntEnum):
    """What a node asks; the numbers are those of `nodes_modes` of ONNX-ML 5's TreeEnsemble.

    Its NOT_EQUAL (5) is left out: swap the children. onnxruntime says yes to it for a missing value
    wherever the node would send it.
    """

    LESS_OR_EQUAL = 0
    LESS = 1
    GREATER_OR_EQUAL = 2
    GREATER = 3
    EQUAL = 4
    MEMBER = 6
    LEAF = 255


class Whole(Enum):
    """How a fraction becomes a category."""

    TRUNCATED = "truncated"
    """Towards zero, as a cast to a whole number does."""
    FLOOR = "floor"
    """Downwards, so that what is below zero stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to the columns before they are compared, in this order.

    Attributes:
        float32: Round every number to float32.
        zero_bound: Numbers of at most this magnitude are 0, where it is above 0.
        zero_columns: int64 [k]; there they are missing instead.
        whole_columns: int64 [k]; made whole, before they are asked for membership.
        whole: How.
    """

    float32: bool = False
    zero_bound: float = 0.0
    zero_columns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    whole_columns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    whole: Whole = Whole.TRUNCATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Trees, and how their leaves make an answer: `base + sum(leaves) / divisor` in each output.

    Attributes:
        columns: Width of the input.
        outputs: Width of the answer.
        features: int64 [nodes]; the column that a node asks, 0 at leaves.
        modes: uint8 [nodes]; a `Mode` each.
        thresholds: float64 [nodes]; 0 where there is none.
        yes: int64 [nodes]; the child where the answer is yes, a node's number. Leaves have 0.
        no: int64 [nodes].
        missing_yes: bool [nodes]; a missing value goes where yes goes, else where no goes.
        members: float64; the sets of all MEMBER nodes, one after the other.
        member_ends: int64 [nodes]; where a node's set ends in `members`, and the next begins.
        values: float64 [nodes, width]; a leaf's values. Width is 1, or `outputs`.
        roots: int64 [trees].
        targets: int64 [trees]; the output that a tree of width 1 adds to.
        base: float64 [outputs].
        divisor: The sum of leaves is divided by it before `base` is added.
        preparation: What is done to the input.
    """

    columns: int
    outputs: int
    features: Ints
    modes: NDArray[np.uint8]
    thresholds: Floats
    yes: Ints
    no: Ints
    missing_yes: NDArray[np.bool_]
    values: Floats
    roots: Ints
    targets: Ints
    base: Floats
    members: Floats = field(default_factory=lambda: np.zeros(0, np.float64))
    member_ends: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    divisor: float = 1.0
    preparation: Preparation = field(default_factory=Preparation)

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_links(self)

    @property
    def has_vector_leaves(self) -> bool:
        """Each leaf has a value for every output, rather than for its tree's only."""
        return bool(self.values.shape[1] > 1)

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        return np.asarray(self.modes == Mode.LEAF)

    def members_of(self, node: int) -> Floats:
        start = int(self.member_ends[node - 1]) if node else 0
        return self.members[start : self.member_ends[node]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree as its library tells it; node 0 is its root, children are numbers within the tree.

    Attributes are those of `Ensemble`; `members` holds a set for each MEMBER node.
    """

    features: Any
    modes: Any
    thresholds: Any
    yes: Any
    no: Any
    missing_yes: Any
    values: Any
    members: dict[int, Floats] = field(default_factory=dict)
    target: int = 0


def leaf(value: float, target: int = 0) -> Tree:
    """A tree that is one leaf."""
    return Tree(
        features=[0],
        modes=[Mode.LEAF],
        thresholds=[0.0],
        yes=[0],
        no=[0],
        missing_yes=[False],
        values=[[value]],
        target=target,
    )


def joined(
    trees: list[Tree],
    *,
    columns: int,
    outputs: int,
    base: Any = 0.0,
    divisor: float = 1.0,
    preparation: Preparation | None = None,
) -> Ensemble:
    """The trees as one ensemble. An empty set, which onnxruntime refuses, becomes `x < -inf`.

    Args:
        trees: At least one, each with at least one node.
        columns: Width of the input.
        outputs: Width of the answer.
        base: Added to the answer; a number, or [outputs].
        divisor: Of the sum of leaves.
        preparation: What is done to the input.

    Raises:
        Corrupt: the trees are not trees, or there are more nodes than `MAX_NODES`.
    """
    if not trees or any(len(t.modes) == 0 for t in trees):
        raise Corrupt("the model holds no tree, or one without nodes")
    sizes = np.array([len(t.modes) for t in trees], dtype=np.int64)
    if sizes.sum() > MAX_NODES:
        raise Corrupt(f"the model holds {sizes.sum()} nodes, at most {MAX_NODES} are read")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    is_inner = np.concatenate([np.asarray(t.modes) != Mode.LEAF for t in trees])
    shift = np.where(is_inner, np.repeat(starts, sizes), 0)
    modes, thresholds = _column(trees, "modes", np.uint8), _column(trees, "thresholds", np.float64)
    lengths = np.zeros(int(sizes.sum()), dtype=np.int64)
    sets: list[Floats] = []
    for start, tree in zip(starts.tolist(), trees, strict=True):
        for node in sorted(tree.members):
            lengths[start + node] = len(tree.members[node])
            sets.append(tree.members[node])
    is_never = (modes == Mode.MEMBER) & (lengths == 0)
    return Ensemble(
        columns=columns,
        outputs=outputs,
        features=np.where(is_inner, _column(trees, "features", np.int64), 0),
        modes=np.where(is_never, Mode.LESS, modes).astype(np.uint8),
        thresholds=np.where(is_never, -np.inf, np.where(is_inner, thresholds, 0.0)),
        yes=np.where(is_inner, _column(trees, "yes", np.int64), 0) + shift,
        no=np.where(is_inner, _column(trees, "no", np.int64), 0) + shift,
        missing_yes=_column(trees, "missing_yes", np.bool_) & is_inner,
        values=np.concatenate(
            [np.asarray(t.values, dtype=np.float64).reshape(len(t.modes), -1) for t in trees]
        ),
        roots=starts.astype(np.int64),
        targets=np.array([t.target for t in trees], dtype=np.int64),
        base=np.broadcast_to(np.asarray(base, dtype=np.float64), (outputs,)).copy(),
        members=np.concatenate(sets) if sets else np.zeros(0, np.float64),
        member_ends=np.cumsum(lengths),
        divisor=divisor,
        preparation=preparation or Preparation(),
    )


def _column(trees: list[Tree], name: str, dtype: Any) -> Any:
    return np.concatenate([np.asarray(getattr(t, name), dtype=dtype) for t in trees])


def _check_shapes(e: Ensemble) -> None:
    nodes = len(e.modes)
    if nodes > MAX_NODES or e.values.size > MAX_LEAF_VALUES:
        raise Corrupt(f"an ensemble of {nodes} nodes and {e.values.size} leaf values is too large")
    arrays = (e.features, e.thresholds, e.yes, e.no, e.missing_yes, e.values)
    if any(len(a) != nodes for a in arrays) or not nodes:
        raise Corrupt("the arrays of an ensemble's nodes have different lengths")
    if e.values.ndim != 2 or e.values.shape[1] not in (1, e.outputs):
        raise Corrupt(f"leaves of shape {e.values.shape[1:]} for {e.outputs} outputs")
    if e.base.shape != (e.outputs,) or e.targets.shape != e.roots.shape:
        raise Corrupt("base values or targets do not fit an ensemble's outputs and trees")
    if not len(e.roots) or not np.all((e.targets >= 0) & (e.targets < e.outputs)):
        raise Corrupt("an ensemble has no trees, or one of an output that is not there")
    if len(e.member_ends) not in (0, nodes):
        raise Corrupt("the sets of an ensemble do not fit its nodes")
    if not np.isfinite(e.divisor) or e.divisor == 0 or not np.isfinite(e.base).all():
        raise Corrupt("an ensemble's base values or divisor are not finite numbers")


def _check_links(e: Ensemble) -> None:
    """Children come after their parent, so every walk ends; each is the child of one node."""
    inner = np.flatnonzero(~e.is_leaf)
    children = np.concatenate([e.yes[inner], e.no[inner]])
    parents = np.concatenate([inner, inner])
    if np.any(children <= parents) or np.any(children >= len(e.modes)):
        raise Corrupt("a tree's node names a child that is not after it")
    counts = np.bincount(np.concatenate([children, e.roots]), minlength=len(e.modes))
    if len(counts) > len(e.modes) or np.any(counts > 1):
        raise Corrupt("a tree's node is the child of two nodes")
    if np.any((e.features[inner] < 0) | (e.features[inner] >= e.columns)):
        raise Corrupt(f"a tree asks a column that is not among the {e.columns} of the model")
    numeric = inner[e.modes[inner] != Mode.MEMBER]
    if np.isnan(e.thresholds[numeric]).any():
        raise Corrupt("a tree's threshold is not a number")
    if not np.isfinite(e.values[e.is_leaf]).all() or not np.isfinite(e.members).all():
        raise Corrupt("a tree's leaf or category is not a finite number")
