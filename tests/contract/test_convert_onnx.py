"""ONNX files of others: imported they answer as onnxruntime says they do, or they are refused."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fogline.errors import Corrupt, InvalidInput, Unsupported
from fogline.runtime import ModelPlan, Session
from fogline_hub.convert.onnx_passes import clean, cut_zipmap, read
from tests.models import fit_classifier, save_classifier, save_custom_domain
from tests.networks import convert_here, differing, save_arrays

FLOAT = TensorProto.FLOAT
value = helper.make_tensor_value_info


def _saved(path: Path, nodes: Any, inputs: Any, outputs: Any, **options: Any) -> Path:
    constants = options.pop("constants", [])
    opset = options.pop("opset", 21)
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset), *options.pop("opsets", [])]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=options.pop("ir_version", 10), **options
    )
    onnx.save(model, path)
    return path


def _rows(count: int = 20, width: int = 4) -> Any:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


def test_a_zipmap_is_cut_off_and_its_tensor_given_with_its_classes(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "zip.onnx", zipmap=True)
    _, rows, classes = fit_classifier()
    sample = save_arrays(tmp_path / "s.npz", x=rows, y=classes)
    report = convert_here("onnx", source, sample, tmp_path, target="y")
    assert report.parity.verdict.value == "exact"
    label, shares = report.schema.outputs
    assert label.labels == shares.labels == ("0", "1", "2")
    assert (label.role, shares.role) == ("label", "probabilities")
    asked = onnxruntime.InferenceSession(str(source)).run(None, {"x": rows})
    with closing(Session.open(tmp_path / "model.onnx", ModelPlan())) as session:
        found = session.run({"x": rows})
    np.testing.assert_array_equal(found[label.name], asked[0])
    expected = np.array([[row[c] for c in range(3)] for row in asked[1]], dtype=np.float32)
    np.testing.assert_array_equal(found[shares.name], expected)


def test_an_old_opset_with_initializers_as_inputs_is_raised_and_proved(tmp_path: Path) -> None:
    weights = helper.make_tensor("w", FLOAT, [4, 2], list(range(8)))
    source = _saved(
        tmp_path / "old.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("ReduceSum", ["m"], ["y"], axes=[1], keepdims=1),
        ],
        [value("x", FLOAT, ["n", 4]), value("w", FLOAT, [4, 2])],
        [value("y", FLOAT, ["n", 1])],
        constants=[weights],
        opset=9,
        ir_version=3,
    )
    sample = save_arrays(tmp_path / "s.npz", x=_rows())
    report = convert_here("onnx", source, sample, tmp_path)
    assert differing(report) == 0
    assert report.lineage.plan == "opset 18, from 9"
    made = onnx.load(tmp_path / "model.onnx")
    assert [i.name for i in made.graph.input] == ["x"]
    assert made.ir_version >= 8
    assert all(t.raw_data and not t.float_data for t in made.graph.initializer)


def test_external_weights_are_gathered_and_looked_for_beside_the_file_alone(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    weights = numpy_helper.from_array(_rows(4, 300), "w")
    source = _saved(
        folder / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["n", 4])],
        [value("y", FLOAT, ["n", 300])],
        constants=[weights],
    )
    model = onnx.load(source)
    onnx.save(model, source, save_as_external_data=True, location="w.bin", size_threshold=0)
    sample = save_arrays(tmp_path / "s.npz", x=_rows())
    report = convert_here("onnx", source, sample, tmp_path)
    assert report.parity.verdict.value == "exact"
    (folder / "w.bin").rename(tmp_path / "w.bin")
    with pytest.raises(Corrupt, match="missing beside it"):
        convert_here("onnx", source, sample, tmp_path)
    outside = onnx.load(source, load_external_data=False)
    for entry in outside.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../w.bin"
    source.write_bytes(outside.SerializeToString())
    with pytest.raises(Corrupt, match="cannot be read"):
        convert_here("onnx", source, sample, tmp_path)


def test_a_files_own_functions_are_inlined(tmp_path: Path) -> None:
    double = helper.make_function(
        "mine", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    source = _saved(
        tmp_path / "f.onnx",
        [helper.make_node("Double", ["x"], ["y"], domain="mine")],
        [value("x", FLOAT, ["n", 4])],
        [value("y", FLOAT, ["n", 4])],
        opsets=[helper.make_opsetid("mine", 1)],
        functions=[double],
    )
    report = convert_here("onnx", source, save_arrays(tmp_path / "s.npz", x=_rows()), tmp_path)
    assert report.parity.verdict.value == "exact"
    assert not onnx.load(tmp_path / "model.onnx").functions


def test_operators_of_another_domain_are_refused_by_name(tmp_path: Path) -> None:
    source = save_custom_domain(tmp_path / "c.onnx")
    sample = save_arrays(tmp_path / "s.npz", x=_rows(width=2))
    with pytest.raises(Unsupported, match=r"domain example\.custom \(Magic\)"):
        convert_here("onnx", source, sample, tmp_path)


def test_a_sequence_output_is_refused(tmp_path: Path) -> None:
    out = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    source = _saved(tmp_path / "q.onnx", [node], [value("x", FLOAT, ["n", 4])], [out])
    with pytest.raises(Unsupported, match="seq"):
        convert_here("onnx", source, save_arrays(tmp_path / "s.npz", x=_rows()), tmp_path)


def test_fixed_rows_are_freed_where_every_answer_stays(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, 4], np.int64), "shape")
    source = _saved(
        tmp_path / "one.onnx",
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [value("x", FLOAT, [1, 2, 2])],
        [value("y", FLOAT, [1, 4])],
        constants=[shape],
    )
    sample = save_arrays(tmp_path / "s.npz", x=_rows().reshape(20, 2, 2))
    report = convert_here("onnx", source, sample, tmp_path)
    assert differing(report) == 0
    assert "rows freed from 1" in report.lineage.plan
    assert report.schema.inputs[0].shape == (-1, 2, 2)


def test_fixed_rows_that_mix_when_freed_are_told(tmp_path: Path) -> None:
    """A mean over the fixed rows of one is each row's own; over free rows it is not."""
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    source = _saved(
        tmp_path / "mix.onnx",
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["d"]),
            helper.make_node("Add", ["m", "d"], ["s"]),
            helper.make_node("Mul", ["m", "s"], ["y"]),
        ],
        [value("x", FLOAT, [1, 4])],
        [value("y", FLOAT, [1, 4])],
        constants=[axes],
    )
    report = convert_here("onnx", source, save_arrays(tmp_path / "s.npz", x=_rows()), tmp_path)
    assert report.parity.verdict.value == "diverges"


def test_class_names_come_from_the_user_or_the_number_or_nowhere(tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    source = _saved(
        tmp_path / "s.onnx", [node], [value("x", FLOAT, ["n", 3])], [value("y", FLOAT, ["n", 3])]
    )
    rows = _rows(30, 3)
    names = np.array(["red", "blue", "green"])
    sample = save_arrays(tmp_path / "s.npz", x=rows, y=names[rows.argmax(1)])
    with pytest.raises(InvalidInput, match="name them in its order with --labels"):
        convert_here("onnx", source, sample, tmp_path, target="y")
    report = convert_here("onnx", source, sample, tmp_path, target="y", labels=tuple(names))
    label = next(f for f in report.schema.outputs if f.role == "label")
    assert (label.datatype, label.labels) == ("BYTES", ("red", "blue", "green"))
    with closing(Session.open(tmp_path / "model.onnx", ModelPlan())) as session:
        assert session.run({"x": rows})["label"].tolist() == names[rows.argmax(1)].tolist()


def test_passes_leave_a_model_without_a_zipmap_as_it_is(tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "m.onnx")
    model = read(source)
    before = [n.op_type for n in model.graph.node]
    assert cut_zipmap(model) == ()
    clean(model, "m")
    assert [n.op_type for n in model.graph.node] == before
