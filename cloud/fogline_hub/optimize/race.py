"""A child that times models in turn, at each number of threads, on one row."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper

from fogline.runtime import ModelPlan, Session
from fogline.tensors import Array
from fogline_hub.convert.job import serve_job
from fogline_hub.optimize.handover import RaceJob, RaceReport
from fogline_hub.optimize.measurement import Timing
from fogline_hub.optimize.one_row import read_row
from fogline_hub.optimize.timing import alternate

MAX_ROUNDS = 2000
PRODUCT = 384
"""Side of the matrices whose product tells the machine's speed."""


def race(job: RaceJob, folder: Path) -> RaceReport:
    found: dict[str, list[Timing]] = {m.name: [] for m in job.models}
    for threads in job.threads:
        sessions = {
            m.name: Session.open(
                Path(m.path), ModelPlan(prepack=m.prepack, threads=threads), label=m.name
            )
            for m in job.models
        }
        row = read_row(Path(job.row), next(iter(sessions.values())))
        runs = {name: _runner(session, row) for name, session in sessions.items()}
        timed = alternate(runs, budget_s=job.budget_s, max_rounds=MAX_ROUNDS)
        for name, timing in timed.items():
            found[name].append(msgspec.structs.replace(timing, threads=threads))
    return RaceReport(
        timings={n: tuple(t) for n, t in found.items()}, gflops=machine_gflops(folder)
    )


def machine_gflops(folder: Path) -> float:
    """Float operations a nanosecond of one thread, in a product of float32 matrices.

    By onnxruntime, because numpy's product may use threads of its own.
    """
    value = helper.make_tensor_value_info
    side = [PRODUCT, PRODUCT]
    made = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [value("a", TensorProto.FLOAT, side), value("b", TensorProto.FLOAT, side)],
        [value("c", TensorProto.FLOAT, side)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "product.onnx"
    path.write_bytes(model.SerializeToString())
    matrix = np.ones((PRODUCT, PRODUCT), np.float32)
    run = _runner(Session.open(path, ModelPlan()), {"a": matrix, "b": matrix})
    timed = alternate({"product": run}, budget_s=0.2, max_rounds=50)["product"]
    return float(2 * PRODUCT**3 / (timed.p10 * 1000))


def _runner(session: Session, row: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: session.run(row)


if __name__ == "__main__":
    sys.exit(serve_job(RaceJob, race))
