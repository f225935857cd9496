"""What proofs found is kept between starts, and used for nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fogline.errors import Conflict, Forbidden, InvalidInput
from fogline.runtime import ModelPlan, Watchdog
from fogline.runtime.prove import prove
from fogline.runtime.qualification import ProofRequest
from fogline_edge.serving import ServedModel
from fogline_edge.serving import plans as module
from fogline_edge.serving.loading import Loading, source_of
from fogline_edge.serving.model_source import ModelSource, Proved
from fogline_edge.serving.plans import Kept, PlanStore, file_sha256, proof_key
from tests import hostile_models, models
from tests.serving import served_model


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
    kept = Kept(plan=ModelPlan(threads=3), external_data={"w": "0" * 64})
    store.keep("a" * 64, kept)
    assert store.find("a" * 64) == kept
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
        store.keep(key, Kept(plan=ModelPlan()))
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


@pytest.mark.parametrize("spoil", ["owner", "mode"])
def test_a_plan_that_another_user_could_have_written_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    store = PlanStore(tmp_path)
    store.keep("a" * 64, Kept(plan=ModelPlan()))
    path = tmp_path / f"{'a' * 64}.json"
    if spoil == "mode":
        path.chmod(0o666)
    elif os.geteuid() == 0:
        os.chown(path, 4711, 4711)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert store.find("a" * 64) is None


def test_a_key_depends_on_the_model_and_on_what_is_asked() -> None:
    assert len({proof_key("1" * 64, b""), proof_key("2" * 64, b""), proof_key("1" * 64, b"x")}) == 3


def test_weights_beside_the_model_belong_to_its_plan(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = folder / "weights"
    weights.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    path = hostile_models.save_external(folder / "m.onnx", "weights")
    proofs = Proofs(tmp_path / "plans")
    proofs.prove(path)
    (folder / "m.onnx.txt").write_text("beside it, and none of it")
    before = time_of(proofs)
    proofs.prove(path)
    assert time_of(proofs) == before
    weights.write_bytes(np.ones(4, np.float32).tobytes())
    proofs.prove(path)
    assert time_of(proofs) != before  # proved anew


def test_what_changes_during_its_proof_is_not_kept(tmp_path: Path) -> None:
    model, weights = tmp_path / "m.onnx", tmp_path / "weights"
    for path in (model, weights):
        path.write_bytes(b"1")
    for changed in (model, weights):
        kept: list[str] = []

        def prove(changed: Path = changed, kept: list[str] = kept) -> Proved:
            state = changed.stat()
            changed.write_bytes(b"2")
            os.utime(changed, ns=(state.st_atime_ns, state.st_mtime_ns))  # as if nothing had been
            return Proved(
                plan=ModelPlan(), external_data=(weights,), keep=lambda: kept.append("kept")
            )

        def open_(_: ModelPlan) -> ServedModel:
            raise AssertionError("opened")

        source = ModelSource("m", 1, files=(model,), beside=(weights,), prove=prove, open_=open_)
        with pytest.raises(Conflict, match=f"model m@1: {changed.name} changed on the disk"):
            source.open()
        assert not kept


def test_what_changes_while_it_is_loaded_does_not_serve(tmp_path: Path) -> None:
    path = models.save_constant(tmp_path / "m.onnx", 1)
    served = served_model(path)

    def open_(_: ModelPlan) -> ServedModel:
        models.save_constant(path, 2)
        return served

    source = ModelSource("m", 1, files=(path,), open_=open_, prove=lambda: Proved(plan=ModelPlan()))
    with pytest.raises(Conflict, match="changed on the disk"):
        source.open()
    with pytest.raises(Conflict, match="closed"):
        served.runner.run({"x": np.ones((1, 2), np.float32)})


def test_another_model_beside_it_may_change(tmp_path: Path) -> None:
    path = models.save_constant(tmp_path / "m.onnx", 1)
    other = models.save_constant(tmp_path / "m2.onnx", 1)
    proofs = Proofs(tmp_path / "plans")
    source = source_of(path, proofs.loading, name="m")
    source.prove()
    models.save_constant(other, 2)
    source.open().runner.close()


def test_a_proof_is_of_the_bytes_that_were_hashed(tmp_path: Path) -> None:
    path = models.save_identity(tmp_path / "m.onnx")
    sha256 = file_sha256(path)
    assert prove(ProofRequest(model=str(path), model_sha256=sha256)).is_accepted
    models.save_constant(path, 1)
    found = prove(ProofRequest(model=str(path), model_sha256=sha256))
    assert (found.reason, found.stage) == ("digest", "checking")
