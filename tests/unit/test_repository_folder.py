"""What lies in a repository's folder."""

import os
from pathlib import Path

import pytest

from fogline.errors import Exhausted, FoglineError, Forbidden, InvalidInput, NotFound, Unsupported
from fogline_edge.serving.repository import folder as folders
from fogline_edge.serving.repository.folder import Kind, is_repository, list_models, look_up


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_models_are_the_folders(tmp_path: Path) -> None:
    put(tmp_path / "b" / "1" / "model.onnx")
    put(tmp_path / "a" / "config.pbtxt", "")
    put(tmp_path / "README.md")
    put(tmp_path / ".git" / "1" / "model.onnx")
    assert list_models(tmp_path) == ["a", "b"]
    assert is_repository(tmp_path)
    assert not is_repository(tmp_path / "b")
    with pytest.raises(NotFound):
        list_models(tmp_path / "missing")


def test_the_latest_version_is_served_unless_the_policy_says_otherwise(tmp_path: Path) -> None:
    for version in ("1", "2", "10", "01", "0", "x", "-1", "99999999999"):
        put(tmp_path / "m" / version / "model.onnx")
    found = look_up(tmp_path, "m")
    assert (found.kind, dict(found.versions)) == (
        Kind.MODEL,
        {10: tmp_path / "m" / "10" / "model.onnx"},
    )
    put(tmp_path / "m" / "config.pbtxt", "version_policy { all { } }")
    assert sorted(look_up(tmp_path, "m").versions) == [1, 2, 10]
    put(tmp_path / "m" / "config.pbtxt", "version_policy { specific { versions: [ 2, 3 ] } }")
    with pytest.raises(NotFound, match=r"names \[3\]"):
        look_up(tmp_path, "m")


def test_another_file_name_and_labels_are_found(tmp_path: Path) -> None:
    put(tmp_path / "m" / "1" / "net.onnx")
    put(tmp_path / "m" / "labels.txt", "cat\ndog\nemu\n")
    put(
        tmp_path / "m" / "config.pbtxt",
        'default_model_filename: "net.onnx"\n'
        'output { name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "labels.txt" }',
    )
    found = look_up(tmp_path, "m")
    assert found.versions[1].name == "net.onnx"
    assert found.labels == {"y": ("cat", "dog", "emu")}
    assert found.message is not None


def test_a_model_may_be_a_folder_with_its_external_data(tmp_path: Path) -> None:
    model = put(tmp_path / "m" / "1" / "model.onnx" / "model.onnx")
    put(model.with_name("weights.bin"))
    assert look_up(tmp_path, "m").versions == {1: model}


def test_bundles_and_pipelines_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path / "b" / "manifest.json")
    put(tmp_path / "p" / "pipeline.toml")
    put(tmp_path / "p" / "config.pbtxt", "ensemble_scheduling { }")
    assert look_up(tmp_path, "b").kind is Kind.BUNDLE
    assert look_up(tmp_path, "p").kind is Kind.PIPELINE
    assert is_repository(tmp_path)


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        ({}, NotFound, "no model 'm'"),
        ({"m/notes.txt": ""}, InvalidInput, "neither a version's folder"),
        ({"m/config.pbtxt": ""}, InvalidInput, "m/1/model.onnx"),
        ({"m/1/other.onnx": ""}, NotFound, "m/1/model.onnx: No such file"),
        ({"m/1/model.onnx/x": ""}, NotFound, "m/1/model.onnx/model.onnx: No such file"),
        ({"m/1/model.onnx/model.onnx/x": ""}, InvalidInput, "not a regular file"),
        ({"m/1/model.onnx": "", "m/config.pbtxt": "x"}, InvalidInput, "m/config.pbtxt:1"),
        (
            {"m/1/model.onnx": "", "m/config.pbtxt": "backend: 'python'"},
            Unsupported,
            "backend python",
        ),
        ({"m/1/model.onnx": "", "m/config.pbtxt": "#" * 300_000}, InvalidInput, "262144 bytes"),
        (
            {
                "m/1/model.onnx": "",
                "m/config.pbtxt": 'output { name: "y" data_type: 11 dims: 3 label_filename: "l" }',
            },
            NotFound,
            "m/l: No such file",
        ),
    ],
)
def test_a_folder_that_cannot_be_served_says_why(
    tmp_path: Path, files: dict[str, str], kind: type[FoglineError], words: str
) -> None:
    for name, text in files.items():
        put(tmp_path / name, text)
    with pytest.raises(kind, match=words):
        look_up(tmp_path, "m")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../m", "-m", "m\n", "\udcff", "x" * 64])
def test_a_name_that_is_none_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="model name"):
        look_up(tmp_path, name)


def test_links_stay_within_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    outside = put(tmp_path / "outside" / "1" / "model.onnx")
    put(root / "files" / "net", "x")
    for name, target in {
        "in/1/model.onnx": root / "files" / "net",
        "file/1/model.onnx": outside,
        "version/1": outside.parent,
        "model": outside.parent.parent,
        "relative/1/model.onnx": Path("../../../outside/1/model.onnx"),
        "loop/1/model.onnx": root / "loop" / "1" / "model.onnx",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    assert look_up(root, "in").versions[1].read_text() == "x"
    for name in ("file", "version", "model", "relative"):
        with pytest.raises(Forbidden, match="points out of the repository"):
            look_up(root, name)
    with pytest.raises(NotFound, match=r"loop/1/model\.onnx"):
        look_up(root, "loop")


@pytest.mark.parametrize("linked", ["config.pbtxt", "labels.txt"])
def test_nothing_outside_is_read_through_a_link(tmp_path: Path, linked: str) -> None:
    root = tmp_path / "repository"
    put(root / "m" / "1" / "model.onnx")
    text = 'output { name: "y" data_type: TYPE_FP32 dims: 1 label_filename: "labels.txt" }'
    put(root / "m" / "config.pbtxt", text)
    secret = put(tmp_path / "secret", "secret")
    (root / "m" / linked).unlink(missing_ok=True)
    (root / "m" / linked).symlink_to(secret)
    with pytest.raises(Forbidden):
        look_up(root, "m")


def test_a_fifo_is_no_configuration(tmp_path: Path) -> None:
    put(tmp_path / "m" / "1" / "model.onnx")
    os.mkfifo(tmp_path / "m" / "config.pbtxt")
    with pytest.raises(InvalidInput, match="not a regular file"):
        look_up(tmp_path, "m")


def test_names_that_are_no_text_are_listed_as_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff")).mkdir()
    assert list_models(tmp_path) == ["a\\xff"]


def test_labels_are_bounded(tmp_path: Path) -> None:
    for data in (b"\xff", b"a\n" * 70_000, b"x" * 300):
        path = tmp_path / "labels.txt"
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"labels\.txt"):
            folders.read_labels(path)


def test_folders_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_FOLDERS", 2)
    monkeypatch.setattr(folders, "MAX_VERSIONS", 2)
    for i in "123":
        put(tmp_path / "m" / i / "model.onnx")
    with pytest.raises(Exhausted, match="3 versions"):
        look_up(tmp_path, "m")
    for name in "ab":
        (tmp_path / name).mkdir()
    with pytest.raises(Exhausted, match="3 folders"):
        list_models(tmp_path)
