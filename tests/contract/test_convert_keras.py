"""Keras files and SavedModels: converted they answer as before, or they are refused."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from fogline.errors import Corrupt, Unsupported  # noqa: E402
from tests.networks import convert_here, differing, digits, save_arrays  # noqa: E402

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _digits_network() -> Any:
    given = keras.Input((8, 8), name="pixels")
    scaled = L.Normalization()
    scaled.adapt(digits()[0].reshape(-1, 8, 8))
    hidden = L.Conv1D(8, 3, activation="relu")(scaled(given))
    return keras.Model(given, L.Dense(10, activation="softmax", name="digit")(L.Flatten()(hidden)))


@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_a_network_with_learned_preprocessing_keeps_its_answers(form: str, tmp_path: Path) -> None:
    images, target = digits()
    model = _digits_network()
    source = tmp_path / ("m.keras" if form == "keras" else "m")
    if form == "keras":
        model.save(source)
    else:
        model.export(source, verbose=False)
    sample = save_arrays(tmp_path / "s.npz", pixels=images[:200], y=target[:200])
    report = convert_here(form, source, sample, tmp_path, target="y")
    assert differing(report) == 0
    assert [f.role for f in report.schema.outputs] == ["probabilities", "label"]


def test_code_and_old_files_and_garbage_are_refused(tmp_path: Path) -> None:
    sample = save_arrays(tmp_path / "s.npz", x=np.zeros((5, 4)))
    keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2)]).save(tmp_path / "l.keras")
    (tmp_path / "o.h5").write_bytes(b"x")
    (tmp_path / "g.keras").write_bytes(b"x")
    for name, kind, text in (
        ("l.keras", Unsupported, "Lambda layer, which is code"),
        ("o.h5", Unsupported, "save it again"),
        ("g.keras", Corrupt, "not a .keras file"),
    ):
        with pytest.raises(kind, match=text):
            convert_here("keras", tmp_path / name, sample, tmp_path)


def test_bins_that_no_onnx_operator_has_are_refused_by_name(tmp_path: Path) -> None:
    bins = L.Discretization(bin_boundaries=[0.0, 1.0])
    model = keras.Sequential([keras.Input((1,)), bins, L.Embedding(3, 2)])
    model.save(tmp_path / "m.keras")
    sample = save_arrays(tmp_path / "s.npz", x=np.linspace(-1, 2, 20))
    with pytest.raises(Unsupported, match="Bucketize has no ONNX form"):
        convert_here("keras", tmp_path / "m.keras", sample, tmp_path)
