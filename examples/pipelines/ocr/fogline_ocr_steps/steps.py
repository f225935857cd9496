"""The four steps: prepare an image, cut its lines out, turn those upside down, read them."""

import math
from collections.abc import Mapping

import numpy as np

from fogline.errors import InvalidInput
from fogline.schema import Field

from .boxes import Array, BoxRules, find_boxes
from .images import cut_out, normalised, resize

HEIGHT = 48
"""Of a line of text, in pixels, as the classifier and the recogniser want it."""
CLASSIFIED_WIDTH = 192
LEAST_READ_WIDTH = 320
MOST_SIDE = 2000
"""Longest side of an image as the detector sees it."""
LINE_GAP = 10.0
"""Boxes whose tops differ by less lie on one line, in pixels of the image."""

IMAGE = Field(name="image", datatype="UINT8", shape=(1, -1, -1, 3))
"""RGB."""
BOXES = Field(name="boxes", datatype="FP32", shape=(-1, 4, 2))
CROPS = Field(name="crops", datatype="UINT8", shape=(-1, HEIGHT, -1, 3))
WIDTHS = Field(name="widths", datatype="INT32", shape=(-1,))
"""Of each crop; the rest of it is empty."""


class Prepare:
    """An image -> what the detector takes: sides that 32 divides, the shorter one long enough."""

    version = 1
    inputs = (IMAGE,)
    outputs = (Field(name="pixels", datatype="FP32", shape=(1, 3, -1, -1)),)

    def __init__(self, *, short_side: int = 736) -> None:
        self._short_side = short_side

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        image = arrays["image"][0]
        height, width = image.shape[:2]
        if min(height, width) < 1:
            raise InvalidInput("an image needs at least one pixel")
        scale = max(1.0, self._short_side / min(height, width))
        scale = min(scale, MOST_SIDE / max(height, width))
        sides = [max(32, round(side * scale / 32) * 32) for side in (height, width)]
        return {"pixels": normalised(resize(image, *sides))[None]}


class Crop:
    """An image and the detector's map of it -> its lines of text, in reading order."""

    version = 1
    inputs = (IMAGE, Field(name="map", datatype="FP32", shape=(-1, 1, -1, -1)))
    outputs = (
        BOXES,
        CROPS,
        WIDTHS,
        Field(name="tiles", datatype="FP32", shape=(-1, 3, HEIGHT, CLASSIFIED_WIDTH)),
    )

    def __init__(self, *, least_score: float = 0.5, widening: float = 1.6) -> None:
        self._rules = BoxRules(least_score=least_score, widening=widening)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        image, likely = arrays["image"][0], arrays["map"][0, 0]
        size = np.array([image.shape[1], image.shape[0]])
        scale = size / likely.shape[::-1]
        boxes = np.rint(find_boxes(likely, self._rules) * scale)
        boxes = in_reading_order(np.clip(boxes, 0, size - 1))
        lines = [cut_line(image, box) for box in boxes]
        widest = max((line.shape[1] for line in lines), default=0)
        crops = np.zeros((len(lines), HEIGHT, widest, 3), np.uint8)
        tiles = np.zeros((len(lines), 3, HEIGHT, CLASSIFIED_WIDTH), np.float32)
        for crop, tile, line in zip(crops, tiles, lines, strict=True):
            crop[:, : line.shape[1]] = line
            width = min(line.shape[1], CLASSIFIED_WIDTH)
            tile[:, :, :width] = normalised(resize(line, HEIGHT, width))
        widths = np.array([line.shape[1] for line in lines], np.int32)
        return {"boxes": boxes.astype(np.float32), "crops": crops, "widths": widths, "tiles": tiles}


class Turn:
    """Lines, and how likely each of them stands upright or upside down -> lines to be read."""

    version = 1
    inputs = (CROPS, WIDTHS, Field(name="directions", datatype="FP32", shape=(-1, 2)))
    outputs = (Field(name="pixels", datatype="FP32", shape=(-1, 3, HEIGHT, -1)),)

    def __init__(self, *, least_sure: float = 0.9) -> None:
        self._least_sure = least_sure

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        crops, widths = arrays["crops"], arrays["widths"]
        is_turned = arrays["directions"][:, 1] > self._least_sure
        widest = max(LEAST_READ_WIDTH, int(widths.max(initial=0)))
        pixels = np.zeros((len(crops), 3, HEIGHT, widest), np.float32)
        for target, crop, width, turned in zip(pixels, crops, widths, is_turned, strict=True):
            line = crop[:, :width]
            target[:, :, :width] = normalised(line[::-1, ::-1] if turned else line)
        return {"pixels": pixels}


class Read:
    """What the recogniser saw in each column of each line -> text, where it is sure enough.

    Greedy decoding of connectionist temporal classification (Graves et al., ICML 2006): the best
    letter of each column, without repetitions, then without blanks, which are letter 0.
    """

    version = 1
    inputs = (
        Field(name="letters", datatype="FP32", shape=(-1, -1, -1)),
        Field(name="alphabet", datatype="BYTES", shape=(-1,)),
        BOXES,
    )
    outputs = (
        Field(name="text", datatype="BYTES", shape=(1, -1)),
        Field(name="score", datatype="FP32", shape=(1, -1)),
        Field(name="box", datatype="FP32", shape=(1, -1, 4, 2)),
    )

    def __init__(self, *, least_score: float = 0.5) -> None:
        self._least_score = least_score

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        letters, alphabet = arrays["letters"], arrays["alphabet"]
        if letters.shape[2] != len(alphabet):
            raise InvalidInput(f"{letters.shape[2]} letters meet an alphabet of {len(alphabet)}")
        best, sure = letters.argmax(axis=2), letters.max(axis=2)
        keep = best != 0
        keep[:, 1:] &= best[:, 1:] != best[:, :-1]
        texts = ["".join(alphabet[b[k]]) for b, k in zip(best, keep, strict=True)]
        scores = np.array(
            [s[k].mean() if k.any() else 0.0 for s, k in zip(sure, keep, strict=True)]
        )
        chosen = np.flatnonzero(scores >= self._least_score)
        text = np.array([texts[i] for i in chosen], np.object_)
        return {
            "text": text[None],
            "score": scores[chosen].astype(np.float32)[None],
            "box": arrays["boxes"][chosen][None],
        }


def cut_line(image: Array, box: Array) -> Array:
    """One line, `HEIGHT` pixels high; a box that stands is laid on its right side first."""
    width, height = (float(np.linalg.norm(box[i] - box[0])) for i in (1, 3))
    if height >= 1.5 * width:
        box, width, height = np.roll(box, -1, axis=0), height, width
    return cut_out(image, box, HEIGHT, max(1, math.ceil(HEIGHT * width / max(height, 1.0))))


def in_reading_order(boxes: Array) -> Array:
    """From top to bottom, and from left to right where tops are level."""
    lines: list[list[Array]] = []
    for box in sorted(boxes, key=lambda b: (b[0, 1], b[0, 0])):
        if lines and box[0, 1] - lines[-1][-1][0, 1] < LINE_GAP:
            lines[-1].append(box)
        else:
            lines.append([box])
    ordered = [b for line in lines for b in sorted(line, key=lambda b: b[0, 0])]
    return np.array(ordered).reshape(-1, 4, 2)
