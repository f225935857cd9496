"""Sources in the room of a conversion: what each kind needs is there, or it is refused."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fogline.errors import Unsupported
from fogline.sandbox import Mechanism
from fogline_hub.convert import Conversion, ConversionLimits, Verdict, convert
from fogline_hub.convert.isolation import carries_code

NOTHING = frozenset(Mechanism)


def _with_weights_beside(folder: Path) -> Path:
    weights = numpy_helper.from_array(np.ones((4, 300), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 300])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("without", [frozenset(), NOTHING])
def test_onnx_is_converted_with_the_weights_beside_it_whatever_is_isolated(
    tmp_path: Path, without: frozenset[Mechanism]
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    np.savez(tmp_path / "s.npz", x=np.arange(40, dtype=np.float32).reshape(10, 4))
    result = convert(
        Conversion(
            source=_with_weights_beside(folder),
            sample=tmp_path / "s.npz",
            out=tmp_path / "out",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            limits=ConversionLimits(without=without),
        )
    )
    assert result.parity.verdict is Verdict.EXACT
    assert "disk" in result.parity.isolation


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib", "m.pt", "m.pt2", "m.keras", "m.h5"])
def test_formats_that_carry_code_are_refused_without_isolation(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"never read")
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 2)))
    with pytest.raises(Unsupported, match=r"does not isolate its files, network, processes"):
        convert(
            Conversion(
                source=tmp_path / name,
                sample=tmp_path / "s.npz",
                out=tmp_path / "out",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
                limits=ConversionLimits(without=NOTHING),
            )
        )


def test_folders_and_unknown_files_count_as_code(tmp_path: Path) -> None:
    assert carries_code(tmp_path)
    assert carries_code(tmp_path / "m.anything")
    assert not carries_code(tmp_path / "m.ubj")
