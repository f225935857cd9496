"""Whatever lies in a repository is read, or refused with a reason; nothing else ever happens."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline.records import canonical_json
from fogline.wire.model_config_pb2 import ModelConfig
from fogline_edge.serving.pipelines.ensemble import pipeline_of_ensemble
from fogline_edge.serving.repository.config_file import parse_config
from fogline_edge.serving.repository.declaration import check_named, declare
from fogline_edge.serving.repository.folder import is_repository, list_models, look_up
from fogline_edge.serving.repository.source import bounded_schema

EDGES = (0, 1, -1, 2, 64, 2**31 - 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1)
WORDS = (
    "", "m", "x", "y", "1", "0", "onnxruntime", "onnxruntime_onnx", "model.onnx", "..", "a/b", "\0",
    "l" * 300, "\udcff".encode(errors="surrogateescape").decode(errors="replace"), "9" * 5000,
    "1e400", "-0", "nan", "3", "input_minimum:x", "input_maximum:x", "intra_op_thread_count",
    "1" + "0" * 300,
)  # fmt: skip


def value_of(field: Any, draw: Callable[[SearchStrategy[object]], object]) -> object:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            word = draw(st.sampled_from(WORDS))
            return word if field.type == FieldDescriptor.TYPE_STRING else str(word).encode()
        case FieldDescriptor.CPPTYPE_BOOL:
            return draw(st.booleans())
        case FieldDescriptor.CPPTYPE_ENUM:
            return draw(st.sampled_from((-1, 0, 1, 2, 3, 11, 999)))
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_INT64:
            bits = 31 if field.cpp_type == FieldDescriptor.CPPTYPE_INT32 else 63
            return draw(st.sampled_from([e for e in EDGES if -(2**bits) <= e < 2**bits]))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            bits = 32 if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32 else 64
            return draw(st.sampled_from([e for e in EDGES if 0 <= e < 2**bits]))
        case _:
            return draw(st.floats(width=32))


def fill(message: Message, data: DataObject, names: tuple[str, ...] = (), depth: int = 0) -> None:
    """Sets some fields of a message to values at the edges of what they can hold."""
    kind = message.DESCRIPTOR
    fields = [kind.fields_by_name[n] for n in names] or list(kind.fields)
    if not fields:
        return
    some = st.lists(st.sampled_from(fields), max_size=5, unique_by=lambda f: f.name)
    for field in data.draw(some):
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            key = value_of(entry.fields_by_name["key"], data.draw)
            value = entry.fields_by_name["value"]
            if value.message_type is None:
                getattr(message, field.name)[key] = value_of(value, data.draw)
            else:
                fill(getattr(message, field.name)[key], data, depth=depth + 1)
        elif entry is not None:
            if depth < 5:
                inner = getattr(message, field.name)
                fill(inner.add() if field.is_repeated else inner, data, depth=depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(
                value_of(field, data.draw) for _ in range(data.draw(st.integers(0, 3)))
            )
        else:
            setattr(message, field.name, value_of(field, data.draw))


SERVED = (
    "name", "max_batch_size", "input", "output", "version_policy", "instance_group",
    "dynamic_batching", "default_model_filename", "parameters", "model_warmup", "optimization",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_ensemble_is_a_pipeline_or_refused(data: DataObject) -> None:
    message = ModelConfig()
    fill(message, data, ("max_batch_size", "input", "output", "ensemble_scheduling"))
    message.ensemble_scheduling.step.add(model_name="a").output_map["y"] = "y"
    text = text_format.MessageToString(message).encode()
    try:
        config = parse_config(text, "m/config.pbtxt")
        check_named(config, "m")
        pipeline = pipeline_of_ensemble(config.message)
    except FoglineError:
        return
    assert canonical_json(pipeline)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), names=st.sampled_from(((), SERVED)))
def test_a_configuration_is_taken_or_refused(data: DataObject, names: tuple[str, ...]) -> None:
    message = ModelConfig()
    fill(message, data, names)
    text = text_format.MessageToString(message).encode()
    try:
        declaration = declare(parse_config(text, "m/config.pbtxt"), "m")
        bounded_schema(declaration, "model m")
    except FoglineError:
        return
    assert canonical_json(declaration)


PLACES = (
    "1", "0", "-1", "01", str(2**70), "2", "3", "config.pbtxt", "manifest.json", "pipeline.toml",
    "pipeline.json", "model.onnx", "labels.txt", "1/model.onnx", "2/model.onnx", "3/model.onnx",
    "1/model.onnx/model.onnx", "l" * 255,
)  # fmt: skip
CONFIGS = (
    b"", b"name: 'm'", b"\xff\0", b"{" * 5000, b"[" * 5000, b"#" * 300_000,
    b"version_policy { all { } }", b"version_policy { specific { versions: [ 1, 2 ] } }",
    b"output { name: 'y' data_type: 11 dims: 3 label_filename: 'labels.txt' }",
    b"default_model_filename: '" + b"l" * 300 + b"'",
    b"default_model_filename: '\\000'",
)  # fmt: skip
KINDS = ("config", "folder", "loop", "chain", "pipe", "outside", "missing", "closed")


def put(path: Path, kind: str, content: bytes) -> None:
    if os.path.lexists(path) or path.parent.is_symlink():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "config" | "closed":
                path.write_bytes(content)
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "chain":
                path.symlink_to("1")
            case _:
                targets = {"loop": path.name, "outside": "/", "missing": "nowhere"}
                path.symlink_to(targets[kind])
        if kind == "closed":
            path.chmod(0)
    except OSError:
        pass  # something else lies there, or a name is too long


ENTRIES = st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS), st.sampled_from(CONFIGS))


@settings(max_examples=300, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=8))
def test_a_folder_is_read_or_refused(entries: list[tuple[str, str, bytes]]) -> None:
    with TemporaryDirectory() as made:
        root = Path(made)
        (root / "m").mkdir()
        for place, kind, content in entries:
            put(root / "m" / place, kind, content)
        assert list_models(root) == ["m"]
        is_repository(root)
        is_repository(root / "m")
        try:
            found = look_up(root, "m")
        except FoglineError:
            return
        assert found.versions


def test_what_stands_in_the_place_of_a_model_is_listed_and_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    assert list_models(tmp_path) == ["loop"]
    assert is_repository(tmp_path)
    for name in ("loop", "gone", "file", "pipe"):
        with pytest.raises(NotFound, match=f"no model '{name}'"):
            look_up(tmp_path, name)


def test_a_name_that_no_disk_takes_is_said(tmp_path: Path) -> None:
    put(tmp_path / "m" / "1" / "model.onnx", "config", b"")
    put(tmp_path / "m" / "config.pbtxt", "config", b"default_model_filename: '%s'" % (b"l" * 300))
    with pytest.raises(InvalidInput, match=r"m/lll.*: cannot be read: File name too long"):
        look_up(tmp_path, "m")
