"""What an ensemble answers, in plain numpy: the measure that the written graph is held against."""

import numpy as np
from numpy.typing import NDArray

from fogline_hub.convert.ensembles.ensemble import (
    Ensemble,
    Floats,
    Ints,
    Mode,
    Preparation,
    Whole,
)


def evaluate(ensemble: Ensemble, rows: NDArray[np.floating]) -> Floats:
    """Answers of an ensemble.

    Args:
        ensemble: The trees.
        rows: float32 or float64 [rows, columns]; NaN is missing.

    Returns:
        float64 [rows, outputs]. Leaves are added in the order of the trees, in float64.
    """
    prepared = prepare(ensemble.preparation, rows)
    total = np.zeros((len(rows), ensemble.outputs))
    for root, target in zip(ensemble.roots.tolist(), ensemble.targets.tolist(), strict=True):
        leaves = ensemble.values[_leaves_of(ensemble, prepared, root)]
        if ensemble.has_vector_leaves:
            total += leaves
        else:
            total[:, target] += leaves[:, 0]
    return np.asarray(total / ensemble.divisor + ensemble.base)


def prepare(preparation: Preparation, rows: NDArray[np.floating]) -> Floats:
    """The rows as the trees compare them, float64 [rows, columns]."""
    prepared = rows.astype(np.float64)
    if preparation.float32:
        with np.errstate(over="ignore"):
            prepared = prepared.astype(np.float32).astype(np.float64)
    zero, whole = preparation.zero_columns, preparation.whole_columns
    if preparation.zero_bound > 0:
        is_zero = np.abs(prepared) <= preparation.zero_bound
        fill = np.zeros(rows.shape[1])
        fill[zero] = np.nan
        prepared = np.where(is_zero, fill, prepared)
    made_whole = np.trunc if preparation.whole is Whole.TRUNCATED else np.floor
    prepared[:, whole] = made_whole(prepared[:, whole])
    return prepared


def _leaves_of(ensemble: Ensemble, rows: Floats, root: int) -> Ints:
    """The leaf that each row falls into, int64 [rows]."""
    at = np.full(len(rows), root, dtype=np.int64)
    numbers = np.arange(len(rows))
    while True:
        going = np.flatnonzero(ensemble.modes[at] != Mode.LEAF)
        if not len(going):
            return at
        nodes = at[going]
        values = rows[numbers[going], ensemble.features[nodes]]
        says_yes = _answers(ensemble, nodes, values)
        at[going] = np.where(says_yes, ensemble.yes[nodes], ensemble.no[nodes])


def _answers(ensemble: Ensemble, nodes: Ints, values: Floats) -> NDArray[np.bool_]:
    limits = ensemble.thresholds[nodes]
    modes = ensemble.modes[nodes]
    made = np.select(
        [modes == mode for mode in range(5)],
        [
            values <= limits,
            values < limits,
            values >= limits,
            values > limits,
            values == limits,
        ],
        default=False,
    )
    for i in np.flatnonzero(modes == Mode.MEMBER):
        made[i] = values[i] in ensemble.members_of(int(nodes[i]))
    return np.where(np.isnan(values), ensemble.missing_yes[nodes], made)
