"""When a fall of accuracy began, estimated from the blocks that proved it; pure."""

import math
from collections.abc import Sequence

from fogline_hub.monitor.accuracy import AccuracyBlock


def change_block(blocks: Sequence[AccuracyBlock], usual_error: float) -> int:
    """Position of the block at which the error rate most likely rose.

    The maximum-likelihood estimate of a change from a known rate to a higher unknown one: the start
    whose tail has the largest log-likelihood ratio against `usual_error` (Hinkley, Biometrika 57,
    1970). Rows that resemble their neighbours make it less sharp, not biased.

    Args:
        blocks: In order, at least one.
        usual_error: The error rate that was allowed before.

    >>> blocks = [AccuracyBlock(index=i, errors=2 if i < 6 else 5, rows=10) for i in range(9)]
    >>> change_block(blocks, 0.25)
    6
    """
    best, best_ratio = len(blocks) - 1, -math.inf
    errors = rows = 0
    for at in range(len(blocks) - 1, -1, -1):
        errors, rows = errors + blocks[at].errors, rows + blocks[at].rows
        ratio = _log_ratio(errors, rows, usual_error)
        if ratio > best_ratio:
            best, best_ratio = at, ratio
    return best


def _log_ratio(errors: int, rows: int, usual: float) -> float:
    """Log-likelihood of the tail's own rate against the usual one; 0 where it is not higher."""
    if rows == 0 or errors / rows <= usual:
        return 0.0
    rate, usual = errors / rows, min(max(usual, 1e-9), 1 - 1e-9)
    right = (rows - errors) * math.log((1 - rate) / (1 - usual)) if rate < 1 else 0.0
    return errors * math.log(rate / usual) + right
