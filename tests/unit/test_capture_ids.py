import doctest
import re
import stat
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import Corrupt, InvalidInput
from fogline.ids import check_id
from fogline_edge.capture import prediction_ids
from fogline_edge.capture.prediction_ids import (
    IdHead,
    PredictionIds,
    load_id_key,
    model_key,
    prediction_bits,
)

KEY = b"k" * 32
IDS = PredictionIds(KEY)
IRIS = IdHead(model_key("iris"), 1, 2)


def made(event_us: int, classes: tuple[int, ...] = (0,), ids: PredictionIds = IDS) -> str:
    """The id of one request, a row for each class."""
    (text,) = ids.make(IRIS, (event_us,), (len(classes),), classes)
    return text


def test_doctests() -> None:
    assert doctest.testmod(prediction_ids).failed == 0


@st.composite
def stacks(draw: st.DrawFn) -> tuple[int, list[tuple[int, tuple[int, ...]]]]:
    """How many labels; of each request its event time and the class of each row."""
    labels = draw(st.sampled_from([0, 1, 2, 3, 10, 300, 32_767, 40_000]))
    rows = st.lists(st.integers(0, labels), max_size=40).map(tuple)
    event_us = st.integers(0, 253_402_300_800_000_000)
    return labels, draw(st.lists(st.tuples(event_us, rows), min_size=1, max_size=8))


@given(stacks(), st.integers(0, 2**32 - 1))
def test_what_is_put_in_comes_out(
    stack: tuple[int, list[tuple[int, tuple[int, ...]]]], version: int
) -> None:
    labels, requests = stack
    bits = prediction_bits(labels)
    texts = IDS.make(
        IdHead(model_key("iris"), version, labels),
        [event_us for event_us, _ in requests],
        [len(classes) for _, classes in requests],
        [c for _, classes in requests for c in classes],
    )
    assert len(set(texts)) == len(texts) == len(requests)
    for text, (event_us, classes) in zip(texts, requests, strict=True):
        check_id(text, "prediction id")  # the hub's rule
        told = IDS.read(text)
        assert (told.model_key, told.version) == (model_key("iris"), version)
        assert (told.event_us, told.rows) == (event_us, len(classes))
        assert told.classes == (classes if 0 < bits * len(classes) <= 56 else ())


def test_without_classes_none_are_carried() -> None:
    texts = IDS.make(IRIS, (5, 5), (1, 3), ())
    assert [IDS.read(text).classes for text in texts] == [(), ()]


def test_ids_of_equal_requests_differ() -> None:
    assert len({made(5) for _ in range(1000)}) == 1000
    assert len(set(IDS.make(IRIS, [5] * 1000, [1] * 1000, [0] * 1000))) == 1000


def test_threads_never_share_a_serial_number() -> None:
    ids = PredictionIds(KEY)
    texts: list[str] = []

    def make() -> None:
        for _ in range(50):
            texts.extend(ids.make(IRIS, [5] * 64, [1] * 64, [0] * 64))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts)) == len(texts) == 4 * 50 * 64


def test_another_devices_id_is_refused() -> None:
    foreign = made(5, ids=PredictionIds(b"x" * 32))
    with pytest.raises(InvalidInput, match="not one of this device"):
        IDS.read(foreign)


def test_a_change_of_any_bit_is_refused() -> None:
    text = made(5, (0, 1, 2))
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput):
            IDS.read(urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode())


def test_one_id_has_one_text() -> None:
    text = made(5)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    taken = 0
    for last in alphabet:
        try:
            IDS.read(text[:-1] + last)
            taken += 1
        except InvalidInput:
            pass
    assert taken == 1


@given(text=st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        IDS.read(text)


def test_the_refusal_does_not_repeat_the_text() -> None:
    with pytest.raises(InvalidInput) as e:
        IDS.read("secret-looking")
    assert "secret" not in str(e.value)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "prediction.key"
    key = load_id_key(path)
    assert len(key) == 32
    assert load_id_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(Corrupt, match=re.escape(str(path))):
        load_id_key(path)
