"""The geometry and decoding of the OCR example's Python steps, against others' where there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from examples.pipelines.ocr.fogline_ocr_steps.boxes import (
    BoxRules,
    find_boxes,
    regions,
    smallest_rectangle,
)
from examples.pipelines.ocr.fogline_ocr_steps.images import cut_out, resize
from examples.pipelines.ocr.fogline_ocr_steps.steps import Crop, Read, Turn, in_reading_order
from fogline.errors import InvalidInput
from fogline.tensors import Array


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_regions_are_those_of_scipy(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    found = regions(mask)
    assert len(found) == count
    for runs in found:
        covered = {(y, x) for y, first, last in runs for x in range(first, last + 1)}
        values = {labels[at] for at in covered}
        assert len(values) == 1
        assert len(covered) == int((labels == values.pop()).sum())


@given(st.floats(-0.7, 0.7), st.floats(20, 60), st.floats(4, 15), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_the_smallest_rectangle_of_a_turned_one_is_itself(
    angle: float, width: float, height: float, seed: int
) -> None:
    u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corners = np.array([[0, 0], u * width, u * width + v * height, v * height]) + 100
    inner = np.random.default_rng(seed).random((20, 2))
    points = np.vstack([corners, corners[0] + inner @ np.stack([u * width, v * height])])
    assert np.allclose(smallest_rectangle(points), corners, atol=1e-6)


def test_a_bright_bar_becomes_one_box_that_is_wider_than_it() -> None:
    probabilities = np.zeros((60, 120), np.float32)
    probabilities[20:30, 30:90] = 0.9
    (box,) = find_boxes(probabilities, BoxRules())
    grown = (box[:, 0].min(), box[:, 1].min(), box[:, 0].max(), box[:, 1].max())
    assert np.allclose(grown, (30 - 7, 20 - 7, 90 + 7, 30 + 7), atol=0.5)
    assert len(find_boxes(probabilities * 0.5, BoxRules())) == 0
    assert find_boxes(np.zeros((8, 8)), BoxRules()).shape == (0, 4, 2)


def test_pixels_keep_their_place_when_an_image_is_resized() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    assert resize(image, 8, 8)[0, :, 0].tolist() == [0, 0, 0, 50, 150, 200, 200, 200]
    assert np.array_equal(resize(image, 4, 4), image)


def test_a_box_is_cut_out_upright() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10, 1)
    corners = np.array([[2.0, 3], [6, 3], [6, 5], [2, 5]])
    assert np.array_equal(cut_out(image, corners, 2, 4)[..., 0], image[3:5, 2:6, 0])
    turned = np.roll(corners, -1, axis=0)  # begun at its top right corner: a quarter turn
    assert np.array_equal(cut_out(image, turned, 4, 2)[..., 0], np.rot90(image[3:5, 2:6, 0]))


def test_lines_are_read_from_the_top_and_from_the_left() -> None:
    corners = np.array([[0, 0], [20, 0], [20, 10], [0, 10]], np.float64)
    boxes = np.array([corners + at for at in ([50, 4], [0, 40], [0, 0])])
    assert in_reading_order(boxes)[:, 0].tolist() == [[0, 0], [50, 4], [0, 40]]


def test_an_image_without_text_gives_no_lines() -> None:
    image = np.full((1, 40, 60, 3), 255, np.uint8)
    found = Crop().run({"image": image, "map": np.zeros((1, 1, 64, 96), np.float32)})
    assert [found[n].shape[0] for n in ("boxes", "crops", "widths", "tiles")] == [0, 0, 0, 0]


def test_only_lines_that_surely_stand_upside_down_are_turned() -> None:
    crops = np.zeros((2, 48, 10, 3), np.uint8)
    crops[:, 0] = 255
    directions = np.array([[0.5, 0.5], [0.05, 0.95]], np.float32)
    arrays: dict[str, Array] = {
        "crops": crops,
        "widths": np.array([10, 10], np.int32),
        "directions": directions,
    }
    pixels = Turn().run(arrays)["pixels"]
    assert pixels.shape == (2, 3, 48, 320)
    assert pixels[0, 0, 0, :10].tolist() == [1.0] * 10
    assert pixels[1, 0, 47, :10].tolist() == [1.0] * 10


def letters_of(*columns: int) -> Array:
    return np.eye(4, dtype=np.float32)[list(columns)][None] * 0.9


def read(letters: Array, letters_there: int = 4) -> list[str]:
    alphabet = np.array(["", "a", "b", " "][:letters_there], np.object_)
    boxes = np.zeros((len(letters), 4, 2), np.float32)
    found = Read().run({"letters": letters, "alphabet": alphabet, "boxes": boxes})
    texts: list[str] = found["text"][0].tolist()
    return texts


def test_repeated_letters_count_once_unless_a_blank_parts_them() -> None:
    assert read(letters_of(1, 1, 0, 1, 2, 2, 3)) == ["aab "]
    assert read(letters_of(0, 0)) == []
    assert read(letters_of(1) * 0.5) == []


def test_an_alphabet_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match="4 letters meet an alphabet of 3"):
        read(letters_of(1), 3)
