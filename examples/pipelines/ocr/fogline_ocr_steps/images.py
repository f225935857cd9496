"""Pixels: bilinear sampling of uint8 images [height, width, channels]."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def resize(image: Array, height: int, width: int) -> Array:
    """The image in another size; pixel centres lie at halves, edges are repeated."""
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    down, across = down[:, None, None], across[None, :, None]
    rows = image[top] * (1 - down) + image[bottom] * down
    return _pixels(rows[:, left] * (1 - across) + rows[:, right] * across)


def cut_out(image: Array, corners: Array, height: int, width: int) -> Array:
    """The parallelogram between `corners` as an upright image.

    Args:
        image: uint8 [h, w, channels].
        corners: [4, 2] x, y: top left, top right, bottom right, bottom left.
        height: Of the result.
        width: Of the result.
    """
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    u = (np.arange(width) + 0.5) / width
    v = (np.arange(height) + 0.5) / height
    points = corners[0] + u[None, :, None] * right + v[:, None, None] * down - 0.5
    x = np.clip(points[..., 0], 0, image.shape[1] - 1)
    y = np.clip(points[..., 1], 0, image.shape[0] - 1)
    x0, y0 = x.astype(np.intp), y.astype(np.intp)
    x1, y1 = np.minimum(x0 + 1, image.shape[1] - 1), np.minimum(y0 + 1, image.shape[0] - 1)
    across, down_ = (x - x0)[..., None], (y - y0)[..., None]
    above = image[y0, x0] * (1 - across) + image[y0, x1] * across
    below = image[y1, x0] * (1 - across) + image[y1, x1] * across
    return _pixels(above * (1 - down_) + below * down_)


def normalised(image: Array) -> Array:
    """uint8 RGB [height, width, 3] -> float32 BGR [3, height, width] from -1 to 1."""
    planes: Array = (image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.5
    return planes


def _pixels(values: Array) -> Array:
    rounded: Array = np.rint(values).astype(np.uint8)
    return rounded


def _neighbours(source: int, target: int) -> tuple[Array, Array, Array]:
    at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (at - low).astype(np.float32)
