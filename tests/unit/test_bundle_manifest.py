"""Every bound of the manifest, and the promise that reading one returns it or raises `Corrupt`."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.bundle import Manifest, device_files, find_variant, read_manifest
from fogline.errors import Corrupt, NotFound
from fogline.records import canonical_json, to_plain

DIGEST = "0123456789abcdef" * 4


def plain() -> dict[str, Any]:
    """A right manifest, as plain values."""

    def file(path: str) -> dict[str, Any]:
        return {"path": path, "sha256": DIGEST, "size_bytes": 5}

    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    return {
        "format": "fogline-bundle/1",
        "name": "rain",
        "created_at": "2026-01-02T03:04:05Z",
        "schema": {"inputs": [tensor], "outputs": [tensor | {"name": "y"}]},
        "variants": [
            {
                "name": "fp32",
                "file": "variants/fp32/model.onnx",
                "external_data": ["variants/fp32/weights"],
                "precision": "fp32",
            },
            {"name": "small", "file": "variants/small/model.onnx", "precision": "int8"},
        ],
        "files": [
            file("golden.pb"),
            file("lineage.json"),
            file("reference.json"),
            file("variants/fp32/model.onnx"),
            file("variants/fp32/weights"),
            file("variants/small/model.onnx"),
        ],
        "golden": "golden.pb",
        "reference": "reference.json",
        "lineage": "lineage.json",
    }


def read(value: object) -> Manifest:
    return read_manifest(canonical_json(value))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The right manifest with one value put in, `a.0.b` style; `...` takes it out."""
    made: Any = plain()
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    at = made
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made  # type: ignore[no-any-return]


def test_a_right_manifest_reads_back_as_the_same_bytes() -> None:
    manifest = read(plain())
    assert manifest.created_at.tzinfo is not None
    assert read(to_plain(manifest)) == manifest


def test_a_device_needs_one_variant_with_the_parts_that_prove_and_watch_it() -> None:
    manifest = read(plain())
    assert {f.path for f in device_files(manifest)} == {
        "golden.pb",
        "reference.json",
        "variants/fp32/model.onnx",
        "variants/fp32/weights",
    }
    assert {f.path for f in device_files(manifest, "small")} == {
        "golden.pb",
        "reference.json",
        "variants/small/model.onnx",
    }
    assert find_variant(manifest).name == "fp32"
    with pytest.raises(NotFound, match="fp32, small"):
        find_variant(manifest, "int4")


UNSAFE = (
    *("../x", "/etc/passwd", "a/../b", "a//b", "a/", "./a", "a\n", "a\0", "a b", "é", ".hidden"),
    *("a/.b", "a\\b", "C:x", "a" * 201, "a/b/c/d/e/f/g/h/i", ""),
)


@pytest.mark.parametrize("path", UNSAFE)
def test_an_unsafe_path_is_refused_everywhere(path: str) -> None:
    for where in ("files.0.path", "variants.0.file", "variants.0.external_data.0"):
        with pytest.raises(Corrupt):
            read(changed(where, path))
    if path:
        with pytest.raises(Corrupt):
            read(changed("golden", path))


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("format", "fogline-bundle/2", "format"),
        ("name", "-x", "name"),
        ("name", "rain\n", "name"),
        ("created_at", "2026-01-02T03:04:05", "created_at"),
        ("extra", 1, "extra"),
        ("variants", [], "variants"),
        ("variants.1.name", "FP32", "variant's name stands twice"),
        ("variants.0.file", "variants/fp32/none.onnx", "none.onnx is referred to"),
        ("variants.0.external_data.0", "golden.pb", "not beside or below"),
        ("variants.0.external_data.0", "variants/fp32/model.onnx", "not beside or below"),
        ("variants.0.external_data", ["variants/fp32/weights"] * 2, "stands twice"),
        ("variants.0.precision", "", "precision"),
        ("variants.0.measured", {"size_bytes": -1}, "measured"),
        ("files", [], "files"),
        ("files.0.size_bytes", 2**31, "size_bytes"),
        ("files.0.size_bytes", -1, "size_bytes"),
        ("files.0.size_bytes", 10**30, "size_bytes"),
        ("files.0.sha256", DIGEST.upper(), "sha256"),
        ("files.0.sha256", DIGEST + "\n", "sha256"),
        ("files.0.path", "Reference.JSON", "stands twice"),
        ("files.0.path", "manifest.json", "the manifest itself"),
        ("files.0.path", "variants/FP32", "which is a file"),
        ("golden", "gone.pb", "gone.pb is referred to"),
        ("schema.inputs.0.datatype", "FLOAT", "FLOAT"),
        ("schema", ..., "schema"),
    ],
)
def test_a_bound_that_is_broken_is_named(where: str, value: Any, says: str) -> None:
    with pytest.raises(Corrupt, match=says):
        read(changed(where, value))


def test_too_many_files_and_too_many_bytes_are_refused() -> None:
    def files(count: int, size: int) -> list[dict[str, Any]]:
        right: list[dict[str, Any]] = plain()["files"]
        return right + [
            {"path": f"f{i}", "sha256": DIGEST, "size_bytes": size} for i in range(count)
        ]

    read(changed("files", files(250, 1)))
    with pytest.raises(Corrupt, match="files"):
        read(changed("files", files(251, 1)))
    with pytest.raises(Corrupt, match="add up to"):
        read(changed("files", files(5, 2**31 - 1)))
    with pytest.raises(Corrupt, match="variants"):
        read(changed("variants", [plain()["variants"][1] | {"name": f"v{i}"} for i in range(17)]))


def test_a_manifest_has_one_form_of_bytes() -> None:
    right = canonical_json(plain())
    for wrong in (
        json.dumps(plain()).encode(),
        right + b"\n",
        right.replace(b'"golden":"golden.pb"', b'"golden":"golden.pb","golden":"golden.pb"'),
        right.replace(b'"rain"', b'"\\u0072ain"'),
    ):
        with pytest.raises(Corrupt, match="canonical"):
            read_manifest(wrong)


def test_a_long_manifest_is_not_parsed() -> None:
    with pytest.raises(Corrupt, match="at most"):
        read_manifest(b" " * (4 * 1024 * 1024 + 1))


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b'{"files":' + b"[" * 90_000])
def test_deep_nesting_is_corrupt_and_not_a_crash(deep: bytes) -> None:
    with pytest.raises(Corrupt):
        read_manifest(deep)


@given(st.binary(max_size=300))
def test_any_bytes_read_or_are_corrupt(data: bytes) -> None:
    with suppress(Corrupt):
        read_manifest(data)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.data())
def test_any_value_anywhere_reads_back_equal_or_is_corrupt(data: st.DataObject) -> None:
    made = plain()
    at: Any = made
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], (dict, list)) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(_VALUES)
        break
    try:
        manifest = read(made)
    except Corrupt:
        return
    assert read(to_plain(manifest)) == manifest


@given(st.data())
def test_any_damaged_byte_reads_or_is_corrupt(data: st.DataObject) -> None:
    right = bytearray(canonical_json(plain()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(right) - 1))
        if data.draw(st.booleans()):
            right[at] = data.draw(st.integers(0, 255))
        else:
            del right[at:]
            break
    with suppress(Corrupt):
        read_manifest(bytes(right))
