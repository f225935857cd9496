"""What capture costs a request, and what it costs the capture thread.

    python -m benchmarks.capture

A request waits for `prediction_ids` and `observe`; the rest happens on the capture thread, where
rows that came together are counted together. A classifier with 30 inputs, one row a request.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from fogline.desired import CapturePolicy
from fogline.runtime import ModelPlan, Session
from fogline.schema import Field, Schema
from fogline.summaries import build_reference
from fogline_edge.capture import Capture, CaptureConfig
from fogline_edge.outbox import Outbox
from fogline_edge.serving import Observation
from fogline_edge.serving.models import ServedModel
from tests.models import save_identity

FEATURES = 30
REQUESTS = 20_000
TOGETHER = 64
NAMES = tuple(f"f{i}" for i in range(FEATURES))
SCHEMA = Schema(
    inputs=(Field(name="x", datatype="FP32", shape=(-1, FEATURES), columns=NAMES),),
    outputs=(
        Field(name="label", datatype="INT64", shape=(-1,), role="label", labels=("0", "1")),
        Field(name="probabilities", datatype="FP32", shape=(-1, 2), role="probabilities"),
    ),
)


def observations(served: ServedModel, generator: np.random.Generator) -> list[Observation]:
    return [
        Observation(
            served=served,
            inputs={"x": generator.normal(size=(1, FEATURES)).astype(np.float32)},
            outputs={
                "label": np.array([n % 2]),
                "probabilities": np.array([[0.5, 0.5]], np.float32),
            },
            rows=(1,),
            event_us=(1_780_000_000_000_000 + n,),
            prediction_ids=("",),
            latency_us=(100,),
        )
        for n in range(REQUESTS)
    ]


def timed(label: str, seconds: float, count: int) -> None:
    print(f"{label:44} {seconds / count * 1e6:8.2f} us")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = Outbox.open(folder / "outbox.db")
        capture = Capture(outbox, folder, config=CaptureConfig(max_buffer_requests=REQUESTS))
        session = Session.open(save_identity(folder / "m.onnx"), ModelPlan())
        served = ServedModel(name="m", version=1, schema=SCHEMA, runner=session)
        table = np.random.default_rng(1).normal(size=(5000, FEATURES)).astype(np.float32)
        reference = build_reference(
            {n: table[:, i] for i, n in enumerate(NAMES)}, {"label": np.arange(5000) % 2}
        )
        capture.set_policy("m", 1, CapturePolicy(sample_rate=0.1), reference, SCHEMA)
        batch = observations(served, np.random.default_rng(0))

        began = time.perf_counter()
        for o in batch:
            capture.prediction_ids(served, o.rows, o.event_us, o.outputs)
        timed("prediction_ids, a request", time.perf_counter() - began, REQUESTS)
        began = time.perf_counter()
        for o in batch:
            capture.observe((o,))
        timed("observe, a request", time.perf_counter() - began, REQUESTS)
        began = time.perf_counter()
        capture.flush(0.0)
        timed("count and sample 20,000 at once, a request", time.perf_counter() - began, REQUESTS)
        began = time.perf_counter()
        for start in range(0, REQUESTS, TOGETHER):
            capture.observe(batch[start : start + TOGETHER])
            capture.flush(0.0)
        timed("count and sample 64 at once, a request", time.perf_counter() - began, REQUESTS)
        began = time.perf_counter()
        capture.flush()
        timed("write to the outbox, a flush", time.perf_counter() - began, 1)
        capture.stop()
        outbox.close()


if __name__ == "__main__":
    main()
