"""What callers may ask of a repository, and what they are told."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.errors import Conflict, Exhausted, InvalidInput, NotFound, Unavailable
from fogline.runtime import Watchdog
from fogline_edge.serving.loading import Loading
from fogline_edge.serving.models import Models
from fogline_edge.serving.repository import Repository
from fogline_edge.serving.repository import repository as module
from fogline_edge.serving.residency import Residency
from fogline_edge.serving.shelf import Shelf
from tests import repositories
from tests.residents import Answer


class Opened:
    """A repository with all that it works with."""

    def __init__(self, root: Path, *, is_explicit: bool) -> None:
        self.watchdog = Watchdog()
        self.models = Models()
        self.residency = Residency(self.models)
        loading = Loading(watchdog=self.watchdog)
        self.shelf = Shelf(self.models, self.residency, loading, threads=1, load_timeout_s=30.0)
        self.repository = Repository(
            root, self.models, self.residency, loading, self.shelf, is_explicit=is_explicit
        )

    def close(self) -> None:
        self.repository.close()
        self.shelf.close()
        self.residency.close()
        self.watchdog.close()


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    repositories.add_identity(tmp_path)
    repositories.add_broken(tmp_path)
    made = Opened(tmp_path, is_explicit=getattr(request, "param", True))
    yield made
    made.close()


def test_what_cannot_be_loaded_at_the_start_is_told_and_listed(opened: Opened) -> None:
    faults = opened.repository.start()
    assert list(faults) == ["broken"]
    assert type(faults["broken"]) is InvalidInput
    rows = {row.name: row.state for row in opened.repository.index()}
    assert rows == {"identity": "READY", "broken": "UNAVAILABLE"}


def test_a_name_that_is_not_there_fails_at_the_start_and_later(opened: Opened) -> None:
    assert type(opened.repository.start(["nobody"])["nobody"]) is NotFound
    answer = Answer()
    opened.repository.load("../identity", answer)
    assert type(answer.wait()) is InvalidInput


def test_a_model_that_is_not_loaded_cannot_be_unloaded(opened: Opened) -> None:
    answer = Answer()
    opened.repository.unload("identity", answer, with_dependents=False)
    error = answer.wait()
    assert type(error) is NotFound
    assert "'identity' is not loaded" in str(error)


def test_a_fault_is_listed_until_the_load_succeeds(opened: Opened, tmp_path: Path) -> None:
    config = repositories.write(tmp_path / "identity" / "config.pbtxt", "backend: 'python'")
    answer = Answer()
    opened.repository.load("identity", answer)
    assert answer.wait() is not None
    reasons = {row.name: row.reason for row in opened.repository.index()}
    assert "backend python is not served" in reasons["identity"]
    config.unlink()
    answer = Answer()
    opened.repository.load("identity", answer)
    assert answer.wait() is None
    rows = {row.name: (row.state, row.reason) for row in opened.repository.index()}
    assert rows["identity"] == ("READY", "")


@pytest.mark.parametrize("opened", [False], indirect=True)
def test_without_explicit_control_callers_are_refused(opened: Opened) -> None:
    with pytest.raises(Conflict, match="--model-control explicit"):
        opened.repository.load("identity", Answer())
    with pytest.raises(Conflict, match="--model-control explicit"):
        opened.repository.unload("identity", Answer(), with_dependents=False)


def test_loads_that_wait_are_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    goes_on, may_end = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        goes_on.set()
        may_end.wait(30)

    opened.repository.load("nobody", hold)  # told on the repository's thread, which it holds
    assert goes_on.wait(30)
    answers = [Answer(), Answer()]
    for answer in answers:
        opened.repository.load("nobody", answer)
    with pytest.raises(Exhausted, match="2 loads and unloads wait"):
        opened.repository.load("nobody", Answer())
    may_end.set()
    assert all(type(answer.wait()) is NotFound for answer in answers)


def test_a_bad_folder_never_stops_the_others(opened: Opened, tmp_path: Path) -> None:
    config = "default_model_filename: '" + "l" * 300 + "'"
    repositories.add_constant(tmp_path, "name-too-long", 1)
    repositories.write(tmp_path / "name-too-long" / "config.pbtxt", config)
    repositories.add_constant(tmp_path, "numbers", 1)
    repositories.write(
        tmp_path / "numbers" / "config.pbtxt",
        "input { name: 'x' data_type: TYPE_FP32 dims: 2 } max_batch_size: 4"
        " model_warmup { name: 'w' batch_size: 1 inputs { key: 'x' value {"
        " data_type: TYPE_FP32 dims: [ 1048576, 1048576, 1048576, 1048576 ] zero_data: true } } }",
    )
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "pipe" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe" / "1" / "model.onnx")
    (tmp_path / "folder" / "1" / "model.onnx" / "model.onnx").mkdir(parents=True)
    (tmp_path / "inner-loop").mkdir()
    (tmp_path / "inner-loop" / "1").symlink_to("1")
    repositories.write(tmp_path / "nul" / "config.pbtxt", "name: 'nul\0'")
    (tmp_path / "nul" / "1").mkdir()
    (tmp_path / os.fsdecode(b"no\xfftext") / "1").mkdir(parents=True)
    repositories.write(tmp_path / "pair" / "pipeline.toml", "[" * 2000)
    repositories.write(tmp_path / "bundle" / "manifest.json", "[" * 2000)
    faults = opened.repository.start()
    rows = {row.name: row for row in opened.repository.index()}
    assert rows.pop("identity").state == "READY"
    assert faults.keys() == rows.keys()
    assert len(rows) == 11
    for name, row in rows.items():
        assert row.state == "UNAVAILABLE"
        assert row.reason
        assert row.reason in str(faults[name])
        assert "internal error" not in row.reason, row


def test_what_waits_is_told_when_the_server_stops(opened: Opened) -> None:
    goes_on, may_end = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        goes_on.set()
        may_end.wait(30)

    opened.repository.load("nobody", hold)
    assert goes_on.wait(30)
    answer = Answer()
    opened.repository.load("identity", answer)
    closing = threading.Thread(target=opened.repository.close)
    closing.start()
    may_end.set()
    closing.join(30)
    error = answer.wait()
    assert isinstance(error, Unavailable) or error is None
