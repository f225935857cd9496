"""`fogline convert`, `optimize` and `inspect` with real children, on real weather."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from fogline import cli
from fogline.bundle import read_bundle
from fogline.errors import Conflict, Corrupt, InvalidInput, Unsupported
from fogline_hub.convert import Conversion, ConversionResult, convert
from fogline_hub.optimize import Optimization, optimize
from tests.trained import bundled, fitted_rain_model, rainfall, save_matrix, save_model, save_table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rain.joblib, train.parquet and held.csv."""
    folder = tmp_path_factory.mktemp("rain")
    days = rainfall()[:1825]
    save_model(folder / "rain.joblib", fitted_rain_model(days[:1460]))
    save_table(folder / "train.parquet", days[:1460])
    days[1460:].to_csv(folder / "held.csv", index=False)
    return folder


def _conversion(rain: Path, out: Path) -> Conversion:
    return Conversion(
        source=rain / "rain.joblib",
        sample=rain / "train.parquet",
        holdout=rain / "held.csv",
        target="rain",
        out=out,
        created_at=NOW,
    )


def test_the_rain_model_is_converted_shrunk_and_inspected(
    rain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    words = ["convert", str(rain / "rain.joblib"), "--sample", str(rain / "train.parquet")]
    words += ["--target", "rain", "--holdout", str(rain / "held.csv"), "--season", "365d"]
    assert cli.main([*words, "--out", str(out), "--name", "rain", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "within_tolerance"
    assert told["rows_differing"] == 0
    assert told["held_out_rows"] == 365

    words = ["optimize", str(out), "--data", str(rain / "held.csv"), "--target", "rain"]
    words += ["--cache", str(tmp_path / "cache")]
    assert cli.main([*words, "--max-loss", "1%"]) == 0
    table = capsys.readouterr().out
    assert "fp16-storage" in table
    assert "int8-dynamic" in table

    assert cli.main(["inspect", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [v["variant"] for v in facts["variants"]][:2] == ["fp32", "fp16-storage"]
    assert facts["variants"][1]["bytes"] < facts["variants"][0]["bytes"]
    assert facts["reference"]["season_s"] == 365 * 86_400

    bundle = read_bundle(out)
    base = bundle.manifest.variants[0].measured
    assert base is not None
    assert base.rows == 365
    assert base.peak_memory_bytes > 30 * 2**20
    assert base.quality_metric == "accuracy"
    lineage = json.loads(bundle.read_file(bundle.manifest.lineage, 10**6))
    assert lineage["packages"]["scikit-learn"]
    assert lineage["sample"]["rows"] == 1460


def test_a_forest_is_shrunk_without_a_flip(tmp_path: Path) -> None:
    features, target = bundled("cancer")
    model = RandomForestClassifier(5, random_state=0).fit(features, target)
    sample = save_matrix(tmp_path / "s.parquet", features, target)
    made = convert(
        Conversion(
            source=save_model(tmp_path / "m.pkl", model),
            sample=sample,
            target="y",
            out=tmp_path / "out",
            created_at=NOW,
        )
    )
    result = optimize(Optimization(bundle=tmp_path / "out", data=sample, target="y"))
    assert "narrow-trees" in result.kept
    for one in result.measurements:
        if one.is_kept:
            assert one.quality is not None
            assert one.quality.label_flips == 0
            assert one.size_bytes <= result.measurements[0].size_bytes
    assert read_bundle(tmp_path / "out").digest == result.digest != made.digest


def test_a_verdict_that_is_not_allowed_writes_no_bundle_unless_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, (300, 2)).astype(np.float64)
    target = rng.integers(0, 2, 300)
    # Rows that are equal and labelled differently: which of them is nearest is nobody's promise.
    model = KNeighborsClassifier(5, algorithm="kd_tree").fit(features, target)
    source = save_model(tmp_path / "m.pkl", model)
    sample = save_matrix(tmp_path / "s.parquet", features, target)
    words = ["convert", str(source), "--sample", str(sample), "--target", "y"]
    words += ["--out", str(tmp_path / "out")]
    assert cli.main(words) == 1
    assert "DIVERGES" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "--accept-divergence"]) == 0
    bundle = read_bundle(tmp_path / "out")
    parity = json.loads(bundle.read_file(bundle.manifest.parity, 10**6))
    assert parity["accepted_divergence"] is True
    assert parity["verdict"] == "diverges"


def test_an_onnx_file_becomes_a_bundle_with_the_same_answers(rain: Path, tmp_path: Path) -> None:
    convert(_conversion(rain, tmp_path / "first"))
    model = tmp_path / "first" / "variants" / "fp32" / "model.onnx"
    result: ConversionResult = convert(
        Conversion(
            source=model,
            sample=rain / "train.parquet",
            target="rain",
            out=tmp_path / "second",
            created_at=NOW,
            name="again",
        )
    )
    assert result.parity.verdict.value == "exact"
    schema = read_bundle(tmp_path / "second").manifest.schema
    assert schema.inputs[0].columns == tuple(rainfall().columns[:-1])
    assert [f.role for f in schema.outputs] == ["label", "probabilities"]
    assert schema.outputs[0].labels == ("0", "1")


def test_an_onnx_image_model_needs_an_array_of_its_inputs_name(rain: Path, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    path = tmp_path / "image.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=8), path)
    with pytest.raises(InvalidInput, match=r"input 'x' has shape \[rows, 3, 8, 8\]; give a .npz"):
        convert(
            Conversion(
                source=path,
                sample=rain / "train.parquet",
                out=tmp_path / "out",
                created_at=NOW,
            )
        )


def test_garbage_named_onnx_is_corrupt(rain: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x0a\xff\xff garbage")
    with pytest.raises(Corrupt, match="not an ONNX model"):
        convert(
            Conversion(
                source=path, sample=rain / "train.parquet", out=tmp_path / "out", created_at=NOW
            )
        )


def test_inspecting_garbage_gives_an_error_and_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("a.onnx", b""), ("b.onnx", b"\x00" * 100), ("c.onnx", b"\x08\x01")):
        path = tmp_path / name
        path.write_bytes(content)
        assert cli.main(["inspect", str(path)]) == 7
        assert "not an ONNX model" in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path)]) == 7  # a folder without a manifest
    assert cli.main(["inspect", str(tmp_path / "none")]) == 3


def test_sources_that_no_converter_reads_are_refused_with_those_that_are(
    rain: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.nothing"
    path.write_bytes(b"x")
    with pytest.raises(Unsupported, match=r"\.nothing files are not converted; supported are"):
        convert(
            Conversion(
                source=path, sample=rain / "train.parquet", out=tmp_path / "out", created_at=NOW
            )
        )


def test_a_folder_that_is_not_empty_is_never_written_over(rain: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(Conflict, match="choose another folder"):
        convert(_conversion(rain, tmp_path / "out"))


def test_optimizing_on_rows_without_a_column_names_it(rain: Path, tmp_path: Path) -> None:
    convert(_conversion(rain, tmp_path / "out"))
    before = read_bundle(tmp_path / "out").digest
    data = save_table(tmp_path / "d.parquet", {"temperature": np.ones(5)})
    with pytest.raises(InvalidInput, match="no column 'dew point'"):
        optimize(Optimization(bundle=tmp_path / "out", data=data))
    assert read_bundle(tmp_path / "out").digest == before


def test_the_current_folder_is_never_replaced(
    rain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="name a new folder"):
        convert(_conversion(rain, Path()))
    with pytest.raises(InvalidInput, match="go above it"):
        optimize(Optimization(bundle=Path(), data=rain / "held.csv"))
