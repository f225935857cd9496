"""The device's files: a version is whole or not there, and what is needed is never removed."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from fogline.bundle import read_bundle
from fogline.errors import Corrupt, NotFound, Untrusted
from fogline_edge.install.store import HeldVersion, Store, VersionKey
from tests.devices import write_version


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "device")


def fetched(store: Store, bundle: Path) -> VersionKey:
    """Puts a bundle's files where a fetch would."""
    read = read_bundle(bundle)
    for path in (bundle / "manifest.json", *(bundle / f.path for f in read.manifest.files)):
        data = path.read_bytes()
        (store.blobs / sha256(data).hexdigest()).write_bytes(data)
    return VersionKey(read.digest, "fp32")


@pytest.fixture
def held(store: Store, tmp_path: Path) -> HeldVersion:
    return store.assemble(fetched(store, write_version(tmp_path / "v1")))


def test_a_version_is_assembled_with_one_link_a_file(store: Store, held: HeldVersion) -> None:
    files = [p for p in held.folder.rglob("*") if p.is_file()]
    assert {p.stat().st_nlink for p in files} == {1}
    assert list(store.blobs.iterdir()) == []
    assert store.open(held.key) == held
    assert store.used_bytes() == sum(p.stat().st_size for p in files)


def test_a_crash_before_the_links_were_released_is_mended(store: Store, held: HeldVersion) -> None:
    model = next(held.folder.rglob("*.onnx"))
    os.link(model, store.blobs / sha256(model.read_bytes()).hexdigest())
    with pytest.raises(Corrupt):
        store.open(held.key)
    store.recover()
    assert store.open(held.key) == held


def test_a_crash_while_building_leaves_what_was_fetched(store: Store, tmp_path: Path) -> None:
    key = fetched(store, write_version(tmp_path / "v1"))
    building = tmp_path / "device" / "versions" / f".new-{key}"
    building.mkdir()
    blob = next(store.blobs.iterdir())
    os.link(blob, building / "file")
    store.recover()
    assert not building.exists()
    assert store.assemble(key).manifest.name == "rain"


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    key = fetched(store, write_version(tmp_path / "v1"))
    weights = sha256(b"shared weights" * 500).hexdigest()
    (store.blobs / weights).unlink()
    with pytest.raises(NotFound, match=weights):
        store.assemble(key)
    with pytest.raises(NotFound):
        store.open(key)
    with pytest.raises(NotFound):
        store.assemble(VersionKey("0" * 64, "fp32"))


def test_a_blob_that_is_not_what_its_name_says_is_removed(store: Store, tmp_path: Path) -> None:
    key = fetched(store, write_version(tmp_path / "v1"))
    weights = store.blobs / sha256(b"shared weights" * 500).hexdigest()
    weights.write_bytes(b"other bytes")
    with pytest.raises(Untrusted):
        store.assemble(key)
    assert not weights.exists()
    with pytest.raises(NotFound):
        store.open(key)


def test_files_of_another_version_are_copied_not_shared(
    store: Store, held: HeldVersion, tmp_path: Path
) -> None:
    key = fetched(store, write_version(tmp_path / "v2", content=b"2"))
    weights = sha256(b"shared weights" * 500).hexdigest()
    (store.blobs / weights).unlink()
    assert weights in store.held_digests()
    second = store.assemble(key)
    store.collect({key})
    assert store.open(key) == second
    with pytest.raises(NotFound):
        store.open(held.key)


def test_a_damaged_version_is_built_anew(store: Store, held: HeldVersion, tmp_path: Path) -> None:
    next(held.folder.rglob("*.onnx")).write_bytes(b"damaged")
    fetched(store, tmp_path / "v1")
    assert store.assemble(held.key) == held


def test_collecting_keeps_what_it_is_told_to(store: Store, held: HeldVersion) -> None:
    (store.blobs / ("." + "part-x")).write_bytes(b"half")
    store.collect({held.key})
    assert store.open(held.key) == held
    assert list(store.blobs.iterdir()) == []


def test_a_link_in_a_versions_folder_is_not_followed(
    store: Store, held: HeldVersion, tmp_path: Path
) -> None:
    model = next(held.folder.rglob("*.onnx"))
    (tmp_path / "elsewhere").write_bytes(model.read_bytes())
    model.unlink()
    model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt):
        store.open(held.key)
