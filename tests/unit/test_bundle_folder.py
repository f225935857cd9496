"""Bundles on a real disk: what the writer promises, and every trick that a folder can play."""

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fogline.bundle import (
    Bundle,
    BundleDraft,
    FileEntry,
    GoldenCase,
    Measured,
    Tolerance,
    VariantDraft,
    check_file,
    decode_cases,
    read_bundle,
    read_manifest,
    write_bundle,
)
from fogline.errors import Conflict, Corrupt, InvalidInput, NotFound, Untrusted
from fogline.records import canonical_json, to_plain
from fogline.schema import Field, Schema

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def draft(**changes: object) -> BundleDraft:
    parts: dict[str, object] = {
        "name": "rain",
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "schema": Schema(
            inputs=(Field(name="x", datatype="FP32", shape=(-1, 3)),),
            outputs=(Field(name="y", datatype="FP32", shape=(-1, 3)),),
        ),
        "variants": (
            VariantDraft(
                name="fp32",
                precision="fp32",
                model=b"model",
                external_data={"weights.bin": b"weights" * 100, "more/w": b"w"},
                measured=Measured(
                    size_bytes=705, latency_us_p50=1.5, latency_us_p90=2, peak_memory_bytes=7
                ),
            ),
            VariantDraft(name="small", precision="int8", model=b"little"),
        ),
        "golden": (
            GoldenCase(
                inputs={"x": X}, outputs={"y": X + 1}, tolerances={"y": Tolerance(absolute=1e-3)}
            ),
        ),
        "reference": b'{"rows":1}',
        "parity": b"{}",
        "lineage": b"{}",
    }
    return BundleDraft(**(parts | changes))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", draft())
    return tmp_path / "bundle"


def test_what_is_written_reads_back(folder: Path) -> None:
    bundle = read_bundle(folder)
    data = (folder / "manifest.json").read_bytes()
    assert bundle.digest == hashlib.sha256(data).hexdigest()
    assert bundle.manifest == read_manifest(data)
    assert [v.name for v in bundle.manifest.variants] == ["fp32", "small"]
    assert bundle.manifest.variants[0].external_data == (
        "variants/fp32/more/w",
        "variants/fp32/weights.bin",
    )
    assert bundle.path("reference.json").read_bytes() == b'{"rows":1}'
    (case,) = decode_cases(bundle.read_file(bundle.manifest.golden, 10_000))
    np.testing.assert_array_equal(case.inputs["x"], X)
    assert case.tolerances == {"y": Tolerance(absolute=1e-3)}


def test_the_same_draft_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bundle(tmp_path / name, draft())
    assert read_bundle(tmp_path / "a").digest == read_bundle(tmp_path / "b").digest
    write_bundle(tmp_path / "c", draft(created_at=datetime(2026, 1, 3, tzinfo=UTC)))
    assert read_bundle(tmp_path / "c").digest != read_bundle(tmp_path / "a").digest


def test_sources_may_be_files(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(b"x" * 3_000_000)
    write_bundle(
        tmp_path / "b",
        draft(variants=(VariantDraft(name="v", precision="fp32", model=source),)),
    )
    bundle = read_bundle(tmp_path / "b")
    assert bundle.path("variants/v/model.onnx").stat().st_size == 3_000_000


def test_a_folder_that_is_there_is_not_overwritten(folder: Path) -> None:
    before = read_bundle(folder).digest
    with pytest.raises(Conflict, match="exists already"):
        write_bundle(folder, draft(name="other"))
    assert read_bundle(folder).digest == before
    assert [p.name for p in folder.parent.iterdir()] == ["bundle"]


def _variants(**changes: object) -> tuple[VariantDraft, ...]:
    parts: dict[str, object] = {"name": "v", "precision": "fp32", "model": b"m"} | changes
    return (VariantDraft(**parts),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../x"}, "name"),
        ({"variants": ()}, "variants"),
        ({"variants": _variants(name="../../x")}, "path in the bundle"),
        ({"variants": _variants(model=b"")}, "empty model"),
        ({"variants": _variants() + _variants()}, "written twice"),
        ({"variants": _variants(external_data={"../x": b"d"})}, "path in the bundle"),
        ({"variants": _variants(external_data={"model.onnx": b"d"})}, "written twice"),
        ({"created_at": datetime(2026, 1, 2)}, "created_at"),  # noqa: DTZ001
        ({"golden": (GoldenCase(inputs={}, outputs={}),) * 65}, "golden cases"),
        (
            {"golden": (GoldenCase(inputs={}, outputs={}, tolerances={"q": Tolerance()}),)},
            "no output",
        ),
    ],
)
def test_a_draft_that_cannot_be_packed_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        write_bundle(tmp_path / "b", draft(**changes))
    assert list(tmp_path.iterdir()) == []


def _add(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"")


def _cut(folder: Path) -> None:
    path = folder / "variants/fp32/weights.bin"
    path.write_bytes(path.read_bytes()[:-1])


def _swap_byte(folder: Path) -> None:
    path = folder / "variants/fp32/model.onnx"
    path.write_bytes(b"Model")


def _replace(kind: Callable[[Path], object], name: str = "lineage.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        kind(folder / name)

    return change


def _hard_link(folder: Path) -> None:
    (folder.parent / "twin").hardlink_to(folder / "parity.json")


def _link_folder(folder: Path) -> None:
    """The right bytes, reached through a link to a folder outside."""
    (folder / "variants/small").rename(folder.parent / "outside")
    (folder / "variants/small").symlink_to(folder.parent / "outside")


def _replace_folder(folder: Path) -> None:
    (folder / "variants/small").rename(folder.parent / "outside")
    (folder / "variants/small").write_bytes(b"")


def _claim_size(size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plain = to_plain(read_bundle(folder).manifest)
        plain["files"][0]["size_bytes"] = size
        (folder / "manifest.json").write_bytes(canonical_json(plain))

    return change


def _bytes_outside(path: Path) -> None:
    """A link to a file of the very same bytes."""
    (path.parent.parent / "same").write_bytes(b"{}")
    path.symlink_to(path.parent.parent / "same")


TRICKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated file": (_cut, "weights.bin: 699 bytes, the manifest says 700"),
    "a missing file": (lambda f: (f / "golden.pb").unlink(), "golden.pb: there is no such file"),
    "an extra file": (_add("setup.py"), "setup.py.*not in its manifest"),
    "an extra file below": (_add("variants/fp32/.x"), "variants/fp32/.x.*not in its manifest"),
    "an extra folder": (lambda f: (f / "variants/x").mkdir(), "variants/x.*not in its manifest"),
    "a link to a file": (_replace(_bytes_outside), "lineage.json: not a regular file"),
    "a dangling link": (_replace(lambda p: p.symlink_to("/nowhere")), "not a regular file"),
    "a link to a folder": (_link_folder, "variants/small"),
    "a hard link": (_hard_link, "parity.json: 2 hard links"),
    "a pipe": (_replace(os.mkfifo), "lineage.json: not a regular file"),
    "a device": (_replace(lambda p: p.symlink_to("/dev/zero")), "not a regular file"),
    "a folder for a file": (_replace(Path.mkdir), "lineage.json: not a regular file"),
    "a file for a folder": (_replace_folder, "variants/small"),
    "a size that is too small": (_claim_size(1), "the manifest says 1"),
    "a size that is huge": (_claim_size(2**31 - 1), "the manifest says 2147483647"),
    "a size beyond all bounds": (_claim_size(2**62), "size_bytes"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json: there is no such"),
    "a manifest that is a link": (
        _replace(lambda p: p.symlink_to("/etc/hostname"), "manifest.json"),
        "manifest.json: not a regular file",
    ),
    "a manifest that is a pipe": (_replace(os.mkfifo, "manifest.json"), "not a regular file"),
    "a long manifest": (
        lambda f: os.truncate(f / "manifest.json", 5_000_000),
        "5000000 bytes, at most",
    ),
    "a manifest of nested lists": (
        lambda f: (f / "manifest.json").write_bytes(b"[" * 1_000_000),
        "manifest.json",
    ),
    "an empty manifest": (lambda f: (f / "manifest.json").write_bytes(b""), "manifest.json"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_hostile_folder_is_corrupt_and_the_text_says_where(folder: Path, trick: str) -> None:
    play, says = TRICKS[trick]
    play(folder)
    with pytest.raises(Corrupt, match=says) as caught:
        read_bundle(folder)
    assert not isinstance(caught.value, Untrusted)


def test_a_real_device_file_is_refused(folder: Path) -> None:
    (folder / "lineage.json").unlink()
    try:
        os.mknod(folder / "lineage.json", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("making a device file needs a right that this user has not")
    with pytest.raises(Corrupt, match="not a regular file"):
        read_bundle(folder)


def test_a_changed_byte_is_untrusted(folder: Path) -> None:
    _swap_byte(folder)
    with pytest.raises(Untrusted, match=r"variants/fp32/model\.onnx: SHA-256 is"):
        read_bundle(folder)


def test_a_file_that_changes_after_reading_is_found_out(folder: Path) -> None:
    bundle = read_bundle(folder)
    (folder / "reference.json").write_bytes(b'{"rows":2}')
    with pytest.raises(Untrusted, match=r"reference\.json: changed"):
        bundle.read_file("reference.json", 1000)
    with pytest.raises(Corrupt, match="at most 3 are read"):
        bundle.read_file("reference.json", 3)


def test_only_listed_files_have_a_path(folder: Path) -> None:
    bundle: Bundle = read_bundle(folder)
    with pytest.raises(NotFound, match="etc/passwd"):
        bundle.path("../../etc/passwd")


def test_a_folder_that_is_none_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "none"):
        with pytest.raises(NotFound, match=name):
            read_bundle(tmp_path / name)


def test_one_file_is_held_against_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"abc")
    entry = FileEntry(path="m", sha256=hashlib.sha256(b"abc").hexdigest(), size_bytes=3)
    check_file(path, entry)
    path.write_bytes(b"abd")
    with pytest.raises(Untrusted):
        check_file(path, entry)
    path.write_bytes(b"ab")
    with pytest.raises(Corrupt):
        check_file(path, entry)
    with pytest.raises(Corrupt, match="no such file"):
        check_file(tmp_path / "gone", entry)
