"""What proofs found is kept between starts, and used for nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from fogline.errors import Forbidden, InvalidInput
from fogline.runtime import ModelPlan, Watchdog
from fogline_edge.serving import plans as module
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.plans import PlanStore, proof_key
from tests import models


class Proofs:
    """A loading that notes what was proved: nothing is, where the store knows it."""

    def __init__(self, folder: Path, plan: ModelPlan | None = None) -> None:
        self.store = PlanStore(folder)
        self.watchdog = Watchdog()
        self.loading = Loading(watchdog=self.watchdog, plans=self.store, plan=plan or ModelPlan())

    def kept(self) -> int:
        return len(list(self.store._folder.glob("*.json")))

    def prove(self, path: Path) -> ModelPlan:
        source = source_of(path, self.loading, name="m")
        source.prove()
        assert source.plan is not None
        return source.plan


def test_the_same_file_is_proved_once(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = models.save_identity(tmp_path / "model" / "m.onnx")
    first = Proofs(tmp_path / "plans").prove(path)
    again = Proofs(tmp_path / "plans")
    before = time_of(again)
    assert again.prove(path) == first
    assert time_of(again) == before  # nothing was written a second time
    copy = tmp_path / "other" / "m.onnx"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    assert again.prove(copy) == first
    assert again.kept() == 1


def time_of(proofs: Proofs) -> list[tuple[str, int]]:
    folder = proofs.store._folder
    return sorted((p.name, p.stat().st_ino) for p in folder.glob("*.json"))


def test_another_file_or_another_wish_is_proved_anew(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = models.save_constant(tmp_path / "model" / "m.onnx", 1)
    proofs = Proofs(tmp_path / "plans")
    proofs.prove(path)
    models.save_constant(path, 2)
    proofs.prove(path)
    assert proofs.kept() == 2
    wish = Proofs(tmp_path / "plans", ModelPlan(threads=2))
    assert wish.prove(path).threads == 2
    assert wish.kept() == 3


def test_a_model_that_is_refused_is_refused_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("no model")
    proofs = Proofs(tmp_path / "plans")
    for _ in range(2):
        with pytest.raises(InvalidInput):
            proofs.prove(path)
    assert proofs.kept() == 0


def test_a_plan_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    store = PlanStore(tmp_path)
    store.keep("a" * 64, ModelPlan(threads=3))
    assert store.find("a" * 64) == ModelPlan(threads=3)
    for data in (b"", b"{", b'{"threads": 0}', b'{"unknown": 1}', b"x" * 100_000):
        (tmp_path / f"{'a' * 64}.json").write_bytes(data)
        assert store.find("a" * 64) is None
    assert store.find("b" * 64) is None


def test_plans_are_bounded_and_the_least_used_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PLANS", 2)
    store = PlanStore(tmp_path)
    for i, key in enumerate("abc"):
        store.keep(key, ModelPlan())
        for path in tmp_path.glob(f"{key}.json"):
            os.utime(path, ns=(i, i))
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["b", "c"]


def test_the_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PlanStore(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot keep plans"):
        PlanStore(tmp_path / "file")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(Forbidden, match="others may write"):
        PlanStore(tmp_path / "shared")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(Forbidden, match="another user's"):
        PlanStore(tmp_path / "new")


def test_a_key_depends_on_all_that_a_proof_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    keys = {
        proof_key([one], [], b""),
        proof_key([two], [], b""),
        proof_key([one, two], [], b""),
        proof_key([one], [two], b""),
        proof_key([one], [], b"x"),
    }
    assert len(keys) == 5
    two.write_bytes(b"3")
    assert proof_key([one], [two], b"") in keys  # numbers beside it: the size counts
    two.write_bytes(b"33")
    assert proof_key([one], [two], b"") not in keys
