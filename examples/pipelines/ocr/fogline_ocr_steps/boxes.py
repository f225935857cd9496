"""A map of how likely each pixel is text -> rectangles around lines of text.

After Liao et al., "Real-time Scene Text Detection with Differentiable Binarization" (AAAI 2020):
the map is cut at a threshold, each connected region gets its smallest rectangle, and that is
widened by `area * ratio / perimeter`, because the network is trained on shrunken lines.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Run = tuple[int, int, int]
"""Row, first column, last column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRules:
    """When a region is a line of text."""

    threshold: float = 0.3
    """Probability from which a pixel belongs to a region."""
    least_score: float = 0.5
    """Mean probability that a rectangle has to reach."""
    widening: float = 1.6
    least_side: float = 3.0
    """Of a region, in pixels of the map."""
    most_boxes: int = 1000


def find_boxes(probabilities: Array, rules: BoxRules) -> Array:
    """The rectangles in a map.

    Args:
        probabilities: float [height, width].
        rules: What counts.

    Returns:
        [n, 4, 2] x, y in pixels of the map: top left, top right, bottom right, bottom left, where
        the top is the side that lies level or nearest to it.
    """
    boxes = []
    for runs in regions(_dilated(probabilities > rules.threshold))[: rules.most_boxes]:
        points = np.array([(x, y) for y, first, last in runs for x in (first, last)], np.float64)
        if np.ptp(points, axis=0).max() < rules.least_side:
            continue
        corners = smallest_rectangle(points)
        width = float(np.linalg.norm(corners[1] - corners[0]))
        height = float(np.linalg.norm(corners[3] - corners[0]))
        if min(width, height) < rules.least_side:
            continue
        if _mean_inside(probabilities, corners) < rules.least_score:
            continue
        grown = width * height * rules.widening / (2 * (width + height))
        boxes.append(_grown(corners, grown))
    return np.array(boxes).reshape(-1, 4, 2)


def regions(mask: Array) -> list[list[Run]]:
    """The connected regions of a mask, diagonals included, each as its runs in its rows."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, firsts = np.nonzero(edges == 1)
    lasts = np.nonzero(edges == -1)[1] - 1
    runs = list(zip(rows.tolist(), firsts.tolist(), lasts.tolist(), strict=True))
    parent = list(range(len(runs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above = 0
    for i, (row, first, last) in enumerate(runs):
        while runs[above][0] < row - 1 or (
            runs[above][0] == row - 1 and runs[above][2] < first - 1
        ):
            above += 1
        j = above
        while j < i and runs[j][0] == row - 1 and runs[j][1] <= last + 1:
            parent[root(i)] = root(j)
            j += 1
    found: dict[int, list[Run]] = defaultdict(list)
    for i, run in enumerate(runs):
        found[root(i)].append(run)
    return list(found.values())


def smallest_rectangle(points: Array) -> Array:
    """The rectangle of least area around points: one of its sides lies along their hull.

    Source: Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary
    closed curve" (CACM 1975).
    """
    hull = _hull(points)
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.maximum(np.linalg.norm(sides, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    us, vs = hull @ along.T, hull @ across.T
    areas = np.ptp(us, axis=0) * np.ptp(vs, axis=0)
    best = int(np.argmin(areas))
    u, v = along[best], across[best]
    low, high = (us[:, best].min(), vs[:, best].min()), (us[:, best].max(), vs[:, best].max())
    corners = np.array(
        [u * a + v * b for a, b in ((low[0], low[1]), (high[0], low[1]), high, (low[0], high[1]))]
    )
    return _upright(corners)


def _upright(corners: Array) -> Array:
    """The same rectangle, begun where its top side runs from left to right."""
    turns = [np.roll(corners, -i, axis=0) for i in range(4)]
    levels = [(c[1] - c[0])[0] / max(np.linalg.norm(c[1] - c[0]), 1e-9) for c in turns]
    return turns[int(np.argmax(levels))]


def _hull(points: Array) -> Array:
    """Convex hull, by Andrew's monotone chain."""
    ordered = sorted(set(map(tuple, points.tolist())))
    if len(ordered) < 3:
        return np.array(ordered)

    def half(sequence: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        chain: list[tuple[float, ...]] = []
        for x, y in sequence:
            while len(chain) > 1:
                (x0, y0), (x1, y1) = chain[-2], chain[-1]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    return np.array(half(ordered) + half(ordered[::-1]))


def _dilated(mask: Array) -> Array:
    """Each pixel also covers its right and lower neighbours, so that thin gaps close."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    tall = wide.copy()
    tall[1:] |= wide[:-1]
    return tall


def _mean_inside(probabilities: Array, corners: Array) -> float:
    last = np.array(probabilities.shape[::-1]) - 1
    low = np.clip(np.floor(corners.min(axis=0)), 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, last).astype(int)
    ys, xs = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    off_x, off_y = xs - corners[0, 0], ys - corners[0, 1]
    u = (off_x * right[0] + off_y * right[1]) / (right @ right)
    v = (off_x * down[0] + off_y * down[1]) / (down @ down)
    inside = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    values = probabilities[low[1] : high[1] + 1, low[0] : high[0] + 1][inside]
    return float(values.mean()) if len(values) else 0.0


def _grown(corners: Array, by: float) -> Array:
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    u, v = right / np.linalg.norm(right) * by, down / np.linalg.norm(down) * by
    grown: Array = corners + np.array([-u - v, u - v, u + v, v - u])
    return grown
