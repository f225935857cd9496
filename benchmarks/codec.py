"""What it costs to read requests and write answers, a request.

    python -m benchmarks.codec

64 messages with ids of their own and random contents, read one by one, joined to one stack, and
answered from one stack with prediction ids; beside it the same messages without known layouts, as
protobuf parses them. Shortest of several rounds, because anything else on the machine only adds.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving_rig.report import environment
from fogline.schema import Field, Schema
from fogline.tensors import Array, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving.codec import CodecLimits, ModelCodec, target_of

TOGETHER = 64
ROUNDS = 40
EVENT_US = 1_780_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Messages of one kind."""

    name: str
    widths: Sequence[int] = (30,)
    """Of each input, FP32."""
    rows: Sequence[int] = (1,)
    """Of the messages in turn."""
    labels: str = ""
    """Datatype of an output of labels beside the probabilities; empty for none."""
    has_time: bool = False

    @property
    def schema(self) -> Schema:
        inputs = tuple(
            Field(name=f"x{i}", datatype="FP32", shape=(-1, w)) for i, w in enumerate(self.widths)
        )
        probabilities = Field(name="probabilities", datatype="FP32", shape=(-1, 2))
        label = Field(name="label", datatype=self.labels or "INT64", shape=(-1,))
        return Schema(
            inputs=inputs, outputs=(label, probabilities) if self.labels else (probabilities,)
        )

    def messages(self, random: np.random.Generator) -> list[bytes]:
        made = []
        for i in range(TOGETHER):
            message = ModelInferRequest(model_name="mlp", id=f"request-{i:08d}")
            rows = self.rows[i % len(self.rows)]
            encode_inputs(
                message,
                {
                    f"x{k}": random.normal(size=(rows, width)).astype(np.float32)
                    for k, width in enumerate(self.widths)
                },
            )
            if self.has_time:
                message.parameters["event_time_us"].int64_param = EVENT_US + i
            made.append(message.SerializeToString())
        return made

    def outputs(self, rows: int) -> dict[str, Array]:
        found: dict[str, Array] = {"probabilities": np.zeros((rows, 2), np.float32)}
        if self.labels == "BYTES":
            found["label"] = np.array(["benign"] * rows, object)
        elif self.labels:
            found["label"] = np.zeros(rows, np.int64)
        return found


CASES = (
    Case(name="one output"),
    Case(name="two outputs", labels="INT64"),
    Case(name="two outputs, one text", labels="BYTES"),
    Case(name="1 to 8 rows", rows=range(1, 9), labels="INT64"),
    Case(name="with an event time", has_time=True),
    Case(name="two inputs", widths=(30, 4)),
)


def measured(case: Case) -> list[float]:
    """Microseconds a request: target, read, join, write, read by protobuf."""
    fast = ModelCodec("mlp", 1, case.schema)
    slow = ModelCodec("mlp", 1, case.schema, limits=CodecLimits(max_layouts=0))
    messages = case.messages(np.random.default_rng(7))
    for message in messages:
        fast.read(message, EVENT_US)
    requests = [fast.read(message, EVENT_US) for message in messages]
    outputs = case.outputs(sum(r.rows for r in requests))
    ids = [f"{i:032x}" for i in range(TOGETHER)]
    steps: tuple[Callable[[], object], ...] = (
        lambda: [target_of(m) for m in messages],
        lambda: [fast.read(m, EVENT_US) for m in messages],
        lambda: fast.join(requests),
        lambda: fast.write(requests, outputs, ids),
        lambda: [slow.read(m, EVENT_US) for m in messages],
    )
    return [_shortest(step) / TOGETHER * 1e6 for step in steps]


def _shortest(step: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(10):
            step()
        taken.append((time.perf_counter() - began) / 10)
    return min(taken)


def main() -> int:
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    print("\nus a request, 64 together, ids of their own:\n")
    print("| messages | target | read | join | write | read by protobuf |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        print(f"| {case.name} | " + " | ".join(f"{us:.2f}" for us in measured(case)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
