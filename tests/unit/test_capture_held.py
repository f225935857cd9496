"""What arrays keep alive, counted and cut."""

import numpy as np

from fogline.tensors import Array
from fogline_edge.capture.held import hold


def test_an_array_of_its_own_is_kept_and_counts_its_elements() -> None:
    array = np.zeros(1000, np.float32)
    kept, size = hold({"x": array})
    assert kept["x"] is array
    assert 4000 <= size < 4500


def test_a_view_counts_the_message_behind_it_and_neighbours_share_it() -> None:
    message = b"x" * 3000
    views: dict[str, Array] = {
        str(n): np.frombuffer(memoryview(message), np.float32, 200, 800 * n).reshape(10, 20)
        for n in range(3)
    }
    kept, size = hold(views)
    assert all(kept[n] is views[n] for n in views)
    assert 3000 <= size < 3600


def test_a_small_view_of_a_long_message_is_copied() -> None:
    message = b"x" * 1_000_000
    small = np.frombuffer(message, np.float32, 10)
    part = np.zeros((1000, 1000), np.float32)[:1]
    kept, size = hold({"small": small, "part": part})
    assert size < 10_000
    for name, array in (("small", small), ("part", part)):
        assert kept[name].base is None
        assert kept[name].tobytes() == array.tobytes()


def test_strings_count_with_what_they_hold() -> None:
    _, size = hold({"text": np.array(["y" * 10_000, "é" * 10], dtype=object)})
    assert 10_000 < size < 11_000
