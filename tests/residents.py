"""Models of a known size, and a budget to hold them in."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fogline.errors import FoglineError
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Schema
from fogline_edge.serving.models import Models, ServedModel
from fogline_edge.serving.residency import Need
from tests.models import tensor

LAYERS = 4


def save_dense(path: Path, megabytes: float, *, seed: int = 0, external: bool = False) -> int:
    """A chain of square products with random weights of this size; returns its width.

    `y = x @ w0 @ w1 @ w2 @ w3` for FP32 [-1, width]; weights beside the file with `external`.
    """
    width = int((megabytes * 2**20 / 4 / LAYERS) ** 0.5)
    generator = np.random.default_rng(seed)
    names = ["x", *(f"h{i}" for i in range(LAYERS - 1)), "y"]
    weights = [
        numpy_helper.from_array(
            generator.standard_normal((width, width), dtype=np.float32) / width**0.5, f"w{i}"
        )
        for i in range(LAYERS)
    ]
    nodes: list[Any] = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(LAYERS)
    ]
    sides = [tensor("x", "FP32", (None, width))], [tensor("y", "FP32", (None, width))]
    graph = helper.make_graph(nodes, "dense", *sides, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(
        model, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0
    )
    return width


class FileSource:
    """A source that is proved already: opens a session on a file, and counts how often."""

    def __init__(
        self, path: Path, name: str, version: int = 1, *, need: Need | None = None, stamp: int = 0
    ) -> None:
        self.path = path
        self.name = name
        self.version = version
        self.stamp = stamp
        self.need: Need | None = need or Need()
        self.opened = 0
        self.before_open: Callable[[], object] = lambda: None
        self.watchdog = Watchdog()

    def prove(self) -> None:
        self.need = self.need or Need()

    def open(self) -> ServedModel:
        self.before_open()
        self.opened += 1
        label = f"model {self.name}@{self.version}"
        session = Session.open(self.path, ModelPlan(), label=label, watchdog=self.watchdog)
        schema = Schema(inputs=session.inputs, outputs=session.outputs)
        return ServedModel(name=self.name, version=self.version, schema=schema, runner=session)


class Answer:
    """A `then` that can be waited for."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self.error: FoglineError | None = None

    def __call__(self, error: FoglineError | None) -> None:
        self.error = error
        self._told.set()

    def wait(self, timeout_s: float = 30.0) -> FoglineError | None:
        assert self._told.wait(timeout_s), "never told"
        return self.error


def demanded(models: Models, name: str, version: str = "") -> FoglineError | None:
    """Demands a version and waits; what came of it."""
    answer = Answer()
    models.demand(name, version, answer)
    return answer.wait()
