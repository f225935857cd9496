"""A name means one model: who serves it, what a pipeline brings, and what becomes of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fogline.errors import Conflict, InvalidInput, NotFound
from fogline.runtime import Watchdog
from fogline_edge.serving.loading import Loading
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency import Residency
from fogline_edge.serving.shelf import Shelf
from fogline_edge.serving.stepwise import steps_of
from tests.models import save_constant, save_identity
from tests.pipelines import Plain, definition, output_of, step_of

X = {"x": np.zeros((1, 2), np.float32)}


class Bench:
    """A shelf, and a folder to put things from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watchdog = Watchdog()
        self.models = Models()
        self.residency = Residency(self.models)
        loading = Loading(watchdog=self.watchdog, choose=False)
        self.shelf = Shelf(self.models, self.residency, loading, threads=1, load_timeout_s=30.0)

    def constant(self, name: str, value: float) -> Path:
        return save_constant(self.folder / f"{name}.onnx", value)

    def pipeline(self, name: str, **components: Plain) -> Path:
        """A sum of its components' answers would be much to ask: it gives each one's own."""
        steps = [step_of(key, {"x": "inputs.x"}) for key in components]
        outputs = [output_of(key, f"{key}.y") for key in components]
        plain = definition(steps, outputs, name=name, components=components)
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(plain))
        return path

    def ask(self, name: str) -> dict[str, float]:
        entry = self.models.acquire(name)
        found = entry.served.runner.run(X)
        entry.release()
        return {key: float(array[0, 0]) for key, array in found.items()}

    def seen(self) -> set[tuple[str, int]]:
        return {(row.name, row.version) for row in self.models.index()}

    def close(self) -> None:
        self.shelf.close()
        self.residency.close()
        self.watchdog.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_two_versions_of_one_model_serve_one_pipeline(bench: Bench) -> None:
    bench.constant("one", 1)
    bench.constant("two", 2)
    path = bench.pipeline(
        "p",
        old={"model": "m@1", "path": "one.onnx"},
        new={"model": "m@2", "path": "two.onnx"},
    )
    bench.shelf.put_pipeline(path)
    assert bench.ask("p") == {"old": 1, "new": 2}
    assert bench.seen() == {("p", 1)}
    with pytest.raises(NotFound, match="component of pipelines"):
        bench.models.acquire("m")


def test_what_a_pipeline_brings_never_takes_a_served_models_place(bench: Bench) -> None:
    bench.shelf.put(bench.constant("m", 1), "m")
    bench.constant("other", 2)
    path = bench.pipeline("p", a={"model": "m", "path": "other.onnx"})
    with pytest.raises(
        Conflict,
        match="two models have the name 'm': one of its own, and one that the pipeline 'p' brings",
    ):
        bench.shelf.put_pipeline(path)
    assert bench.ask("m") == {"y": 1}
    assert bench.seen() == {("m", 1)}
    bench.shelf.put_pipeline(bench.pipeline("p", a={"model": "m"}))
    assert bench.ask("p") == {"a": 1}


def test_no_model_takes_the_place_of_what_a_pipeline_brings(bench: Bench) -> None:
    bench.constant("own", 1)
    bench.shelf.put_pipeline(bench.pipeline("p", a={"model": "m", "path": "own.onnx"}))
    with pytest.raises(Conflict, match="'m': one that the pipeline 'p' brings, and one of its own"):
        bench.shelf.put(bench.constant("m", 2), "m")
    with pytest.raises(Conflict, match="the pipeline 'p' brings, and one that the pipeline 'q'"):
        bench.shelf.put_pipeline(bench.pipeline("q", a={"model": "m", "path": "own.onnx"}))
    with pytest.raises(Conflict, match="'m': one that the pipeline 'p' brings, and one of its own"):
        bench.shelf.put_pipeline(bench.pipeline("m", a={"model": "n", "path": "own.onnx"}))
    assert bench.ask("p") == {"a": 1}


def test_a_pipeline_that_cannot_be_loaded_leaves_nothing(bench: Bench) -> None:
    bench.constant("good", 1)
    (bench.folder / "bad.onnx").write_text("no model")
    with pytest.raises(InvalidInput, match="malformed"):
        bench.shelf.put_pipeline(
            bench.pipeline(
                "p",
                a={"model": "a", "path": "good.onnx"},
                b={"model": "b", "path": "bad.onnx"},
            )
        )
    assert bench.models.list() == ()
    bench.shelf.put(bench.constant("a", 3), "a")
    assert bench.ask("a") == {"y": 3}


def test_a_pipeline_that_is_put_again_drops_what_it_brings_no_more(bench: Bench) -> None:
    for name, value in (("a", 1), ("b", 2)):
        bench.constant(name, value)
    both = {name: {"model": name, "path": f"{name}.onnx"} for name in "ab"}
    bench.shelf.put_pipeline(bench.pipeline("p", **both))
    bench.constant("a", 5)
    bench.shelf.put_pipeline(bench.pipeline("p", **both))  # the same, with another component
    assert bench.ask("p") == {"a": 5, "b": 2}
    bench.shelf.put_pipeline(bench.pipeline("p", a=both["a"]))
    assert bench.ask("p") == {"a": 5}
    bench.shelf.put(bench.constant("b", 7), "b")
    assert bench.ask("b") == {"y": 7}


def test_a_model_may_become_a_pipeline_and_a_pipeline_a_model(bench: Bench) -> None:
    bench.shelf.put(bench.constant("p", 1), "p")
    bench.constant("own", 2)
    path = bench.pipeline("p", a={"model": "a", "path": "own.onnx"})
    bench.shelf.put_pipeline(path)
    assert bench.ask("p") == {"a": 2}
    assert [(served.name, step.name) for served, step in steps_of(bench.models)] == [("p", "a")]
    bench.shelf.put(save_identity(bench.folder / "same.onnx"), "p")
    assert bench.ask("p") == {"y": 0}
    assert list(steps_of(bench.models)) == []
    assert [c.served.label for c in bench.models.list()] == ["model p@1"]


def test_a_pipeline_is_taken_with_its_components_or_without(bench: Bench) -> None:
    bench.constant("own", 1)
    path = bench.pipeline("p", a={"model": "a", "path": "own.onnx"})
    bench.shelf.put_pipeline(path)
    bench.shelf.take("p", with_components=False)
    assert [c.served.name for c in bench.models.list()] == ["a"]
    bench.shelf.put_pipeline(path)
    bench.shelf.take("p", with_components=True)
    assert bench.models.list() == ()
    bench.shelf.put_pipeline(path)
    assert bench.ask("p") == {"a": 1}
