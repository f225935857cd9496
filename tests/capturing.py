"""A device's capture over a real outbox, and traffic of a three-class model to put through it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fogline.clock import ManualClock
from fogline.runtime import ModelPlan, Session
from fogline.schema import Field, Schema
from fogline.summaries import Reference, build_reference
from fogline.tensors import Array
from fogline.wire import fleet_pb2
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline_edge.capture import Capture, CaptureConfig
from fogline_edge.outbox import Outbox
from fogline_edge.serving import Observation
from fogline_edge.serving.models import ServedModel
from tests.models import save_identity

LABELS = ("0", "1", "2")
HOUR_US = 3_600_000_000
START_US = 1_780_000_000_000_000 // HOUR_US * HOUR_US

SCHEMA = Schema(
    inputs=(
        Field(name="x", datatype="FP32", shape=(-1, 3), role="feature", columns=("a", "b", "c")),
    ),
    outputs=(
        Field(name="label", datatype="INT64", shape=(-1,), role="label", labels=LABELS),
        Field(
            name="probabilities",
            datatype="FP32",
            shape=(-1, 3),
            role="probabilities",
            labels=LABELS,
        ),
    ),
)


def outputs_of(x: Array) -> dict[str, Array]:
    """What the model answers: a softmax of its inputs."""
    odds = np.exp(x.astype(np.float64))
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return {"label": probabilities.argmax(axis=1).astype(np.int64), "probabilities": probabilities}


def reference_of(x: Array) -> Reference:
    given = outputs_of(x)
    columns = {f"probabilities[{i}]": given["probabilities"][:, i] for i in range(3)}
    return build_reference(
        {n: x[:, i] for i, n in enumerate("abc")},
        {"label": given["label"], **columns},
        labels=LABELS,
    )


class Device:
    """Capture on a manual clock; the thread does not run, `flush` is called."""

    def __init__(
        self, folder: Path, *, config: CaptureConfig | None = None, seed: int = 0, version: int = 3
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.clock = ManualClock(datetime(2026, 7, 1, tzinfo=UTC))
        self.outbox = Outbox.open(folder / "outbox.db", clock=self.clock)
        self.capture = Capture(
            self.outbox, folder, config=config, clock=self.clock, source=Random(seed)
        )
        self.served = ServedModel(
            name="iris",
            version=version,
            schema=SCHEMA,
            runner=Session.open(save_identity(folder / "identity.onnx"), ModelPlan()),
            variant="fp32",
            generation=7,
        )

    def serve(self, x: Array, *, event_us: int = START_US, latency_us: int = 100) -> str:
        """One answered request; returns its prediction id."""
        (prediction_id,) = self.serve_stack([x], [event_us], [latency_us])
        return prediction_id

    def serve_stack(
        self,
        parts: Sequence[Array],
        event_us: Sequence[int],
        latency_us: Sequence[int],
        outputs: Sequence[str] = ("label", "probabilities"),
    ) -> Sequence[str]:
        """Requests that were answered together; returns their prediction ids."""
        stack = self.observation(parts, event_us, latency_us, outputs)
        stack.prediction_ids = self.capture.prediction_ids(
            self.served, stack.rows, event_us, stack.outputs
        )
        self.capture.observe([stack])
        return stack.prediction_ids

    def observation(
        self,
        parts: Sequence[Array],
        event_us: Sequence[int],
        latency_us: Sequence[int],
        outputs: Sequence[str] = ("label", "probabilities"),
    ) -> Observation:
        x = np.concatenate(parts)
        x.flags.writeable = False
        answer = outputs_of(x)
        return Observation(
            served=self.served,
            inputs={"x": x},
            outputs={name: answer[name] for name in outputs},
            rows=[len(part) for part in parts],
            event_us=event_us,
            prediction_ids=["id"] * len(parts),
            latency_us=latency_us,
        )

    def summaries(self) -> list[fleet_pb2.Summary]:
        return [fleet_pb2.Summary.FromString(r.body) for r in self.outbox.pending("summary")]

    def samples(self) -> list[fleet_pb2.Samples]:
        return [fleet_pb2.Samples.FromString(r.body) for r in self.outbox.pending("sample")]

    def feedback_items(self) -> list[fleet_pb2.Feedbacks.Item]:
        """Every outcome that was taken, those included that wait for others."""
        self.capture.flush()
        return [
            item
            for row in self.outbox.pending("feedback")
            for item in fleet_pb2.Feedbacks.FromString(row.body).items
        ]

    def events(self) -> list[tuple[str, dict[str, str]]]:
        found = [fleet_pb2.Event.FromString(r.body) for r in self.outbox.pending("event")]
        return [(e.kind, dict(e.details)) for e in found]

    def stop(self) -> None:
        self.capture.stop()
        self.outbox.close()


def feedback(prediction_id: str, actuals: Sequence[int], first_row: int = 0) -> FeedbackRequest:
    return FeedbackRequest(
        prediction_id=prediction_id,
        actuals=[
            FeedbackRequest.Actual(row=first_row + i, int64_value=a) for i, a in enumerate(actuals)
        ],
    )


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path / "device")
    yield made
    made.stop()
