import doctest
import re
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import Corrupt, InvalidInput
from fogline.ids import check_id
from fogline_edge.capture import prediction_ids
from fogline_edge.capture.prediction_ids import (
    PredictionIds,
    load_id_key,
    model_key,
    prediction_bits,
)

KEY = b"k" * 32
IDS = PredictionIds(KEY)


def test_doctests() -> None:
    assert doctest.testmod(prediction_ids).failed == 0


@given(
    labels=st.integers(0, 40_000),
    version=st.integers(0, 2**32 - 1),
    event_us=st.integers(0, 253_402_300_800_000_000),
    rows=st.integers(0, 100),
    data=st.data(),
)
def test_what_is_put_in_comes_out(
    labels: int, version: int, event_us: int, rows: int, data: st.DataObject
) -> None:
    classes = tuple(data.draw(st.lists(st.integers(0, labels), min_size=rows, max_size=rows)))
    bits = prediction_bits(labels)
    text = IDS.make(model_key("iris"), version, event_us, rows, classes, bits)
    check_id(text, "prediction id")  # the hub's rule
    told = IDS.read(text)
    assert (told.model_key, told.version) == (model_key("iris"), version)
    assert (told.event_us, told.rows) == (event_us, rows)
    fits = bits > 0 and bits * rows <= 56
    assert told.classes == (classes if fits else ())


def test_ids_of_equal_requests_differ() -> None:
    made = {IDS.make(model_key("iris"), 1, 5, 1, (0,), 2) for _ in range(1000)}
    assert len(made) == 1000


def test_another_devices_id_is_refused() -> None:
    foreign = PredictionIds(b"x" * 32).make(model_key("iris"), 1, 5, 1, (0,), 2)
    with pytest.raises(InvalidInput, match="not one of this device"):
        IDS.read(foreign)


def test_a_change_of_any_bit_is_refused() -> None:
    text = IDS.make(model_key("iris"), 1, 5, 3, (0, 1, 2), 2)
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput):
            IDS.read(urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode())


def test_one_id_has_one_text() -> None:
    text = IDS.make(model_key("iris"), 1, 5, 1, (0,), 2)
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
