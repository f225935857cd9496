"""What capture costs a request, beside what ONNX Runtime costs it.

    python -m benchmarks.capture

A classifier of 30 features and two classes, its reference of all of them; requests of one row that
are answered alone, or in stacks of 8 or 64. An answered request waits for its prediction id and for
the hand-over; summaries and samples are made on the capture thread, here measured by themselves in
drains of the size that full traffic has. The second table is of a loop that reads messages, runs
and writes messages, with capture's thread beside it: what the process spends more than without
capture, which adds what the two take from each other, and the loop's longest pauses. Medians of
rounds that alternate, with the smallest and the largest.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.serving_rig.report import environment
from benchmarks.serving_rig.workloads import small_mlp
from fogline.bundle import find_variant, read_bundle
from fogline.desired import CapturePolicy
from fogline.records import decode_json
from fogline.runtime import ModelPlan, Session
from fogline.summaries import Reference
from fogline.tensors import Array, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline_edge.capture import Capture, CaptureConfig
from fogline_edge.outbox import Outbox
from fogline_edge.serving import NullObserver, Observation, Observer, ServedModel, ServingConfig

ROUNDS = 7
REQUESTS = 8192
BESIDE_S = 0.5
TOGETHER = (1, 8, 64)
EVENT_US = 1_780_000_000_000_000
SPENT = 100
"""Sampled rows an hour: so few are soon spent, as the default is at full traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Requests as a front leaves them: read-only views of messages, and what was answered."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    rows: Sequence[int]
    event_us: Sequence[int]
    latency_us: Sequence[int]


@dataclass(slots=True)
class Costs:
    """Microseconds of CPU a request, one value a round."""

    run: list[float] = field(default_factory=list)
    ids: list[float] = field(default_factory=list)
    hand_over: list[float] = field(default_factory=list)
    count: list[float] = field(default_factory=list)

    @property
    def total(self) -> list[float]:
        return [sum(each) for each in zip(self.ids, self.hand_over, self.count, strict=True)]

    @property
    def ratio(self) -> list[float]:
        return [all_ / run for all_, run in zip(self.total, self.run, strict=True)]


@contextmanager
def captured(folder: Path, bundle: Path, policy: CapturePolicy) -> Iterator[Capture]:
    """Capture of the bundle's version, its thread not started."""
    folder.mkdir()
    outbox = Outbox.open(folder / "outbox.db")
    capture = Capture(outbox, folder, config=CaptureConfig())
    manifest = read_bundle(bundle).manifest
    data = read_bundle(bundle).path(manifest.reference).read_bytes()
    reference = decode_json(data, Reference, manifest.reference)
    capture.set_policy(manifest.name, 1, policy, reference, manifest.schema)
    try:
        yield capture
    finally:
        capture.stop()
        outbox.close()


def stacks(session: Session, together: int) -> list[Stack]:
    generator = np.random.default_rng(together)
    (given,) = session.inputs
    made = []
    for _ in range(REQUESTS // together):
        values = generator.normal(size=(together, given.shape[1])).astype(np.float32)
        message = b"x" * 96 + values.tobytes()
        inputs = {given.name: np.frombuffer(message, np.float32, offset=96).reshape(values.shape)}
        made.append(
            Stack(
                inputs=inputs,
                outputs=session.run(inputs),
                rows=(1,) * together,
                event_us=tuple(range(EVENT_US, EVENT_US + together)),
                latency_us=(100,) * together,
            )
        )
    return made


def observed(served: ServedModel, stack: Stack, ids: Sequence[str]) -> Observation:
    return Observation(
        served, stack.inputs, stack.outputs, stack.rows, stack.event_us, ids, stack.latency_us
    )


def measure(
    costs: Costs, session: Session, capture: Capture, served: ServedModel, made: list[Stack]
) -> None:
    """One round: each step for all requests, one step after the other."""
    costs.run.append(timed(lambda: [session.run(s.inputs) for s in made]))
    ids: list[Sequence[str]] = []
    costs.ids.append(
        timed(
            lambda: ids.extend(
                capture.prediction_ids(served, s.rows, s.event_us, s.outputs) for s in made
            )
        )
    )
    hand_over = count = 0.0
    drain = CaptureConfig().drain_requests // len(made[0].rows)

    def give(start: int) -> None:
        for stack, given in zip(
            made[start : start + drain], ids[start : start + drain], strict=True
        ):
            capture.observe((observed(served, stack, given),))

    for start in range(0, len(made), drain):
        hand_over += timed(partial(give, start))
        count += timed(lambda: capture.flush(0.0))
    costs.hand_over.append(hand_over)
    costs.count.append(count)


def timed(work: Callable[[], object]) -> float:
    """Microseconds of this thread's CPU, divided by the requests of a round."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) / REQUESTS * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A loop that answers: CPU of the whole process, microseconds a request, and longest pause."""

    cpu_us: float
    longest_ms: float


def answer(session: Session, served: ServedModel, observer: Observer, made: list[Stack]) -> Beside:
    """Answers for `BESIDE_S`; reading and writing messages is the work that needs the GIL."""
    message = ModelInferRequest(model_name=served.name, id="0123456789abcdef")
    encode_inputs(message, {n: x[:1] for n, x in made[0].inputs.items()})
    data = message.SerializeToString()
    longest = 0.0
    began, cpu = time.perf_counter(), time.process_time()
    last, requests, turn = began, 0, 0
    while last < began + BESIDE_S:
        stack = made[turn % len(made)]
        turn += 1
        for _ in stack.rows:
            read = ModelInferRequest.FromString(data)
            ModelInferResponse(model_name=read.model_name, id=read.id).SerializeToString()
        outputs = session.run(stack.inputs)
        ids = observer.prediction_ids(served, stack.rows, stack.event_us, outputs)
        observer.observe((observed(served, stack, ids),))
        requests += len(stack.rows)
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
    spent = time.process_time() - cpu
    return Beside(cpu_us=spent / requests * 1e6, longest_ms=longest * 1e3)


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    sys.setswitchinterval(ServingConfig().switch_interval_s)  # as a server does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = small_mlp(folder).bundle
        manifest = read_bundle(bundle).manifest
        file = read_bundle(bundle).path(find_variant(manifest).file)
        with closing(Session.open(file, ModelPlan())) as session:
            served = ServedModel(
                name=manifest.name, version=1, schema=manifest.schema, runner=session
            )
            by_itself(folder, bundle, session, served)
            beside_a_loop(folder, bundle, session, served)


def by_itself(folder: Path, bundle: Path, session: Session, served: ServedModel) -> None:
    """A tenth of the rows is sampled until the hour's budget says less; both are shown."""
    policies = {"a tenth sampled": 10**9, "budget spent": SPENT}
    found = {(label, n): Costs() for label in policies for n in TOGETHER}
    made = {n: stacks(session, n) for n in TOGETHER}
    for i in range(ROUNDS):
        for label, budget in policies.items():
            policy = CapturePolicy(max_rows_per_hour=budget, flush_interval_s=3600)
            with captured(folder / f"{label}-{i}", bundle, policy) as capture:
                capture.observe([observed(served, s, ("",) * 64) for s in made[64]])
                capture.flush(0.0)
                for n in TOGETHER:
                    measure(found[label, n], session, capture, served, made[n])
    print(
        f"\n{'CPU us a request':26} {'run':>18} {'ids':>18} {'hand-over':>18} "
        f"{'count and sample':>18} {'capture':>18} {'/ run':>18}"
    )
    for (label, n), costs in found.items():
        figures = (
            costs.run, costs.ids, costs.hand_over, costs.count, costs.total, costs.ratio,
        )  # fmt: skip
        cells = " ".join(f"{spread(f):>18}" for f in figures)
        print(f"{f'{n} together, {label}':26} {cells}")


def beside_a_loop(folder: Path, bundle: Path, session: Session, served: ServedModel) -> None:
    print(
        f"\n{'beside a loop':26} {'CPU us a request':>22} {'without capture':>22} "
        f"{'more':>22} {'longest pause ms':>22} {'without':>22}"
    )
    for n in TOGETHER:
        made = stacks(session, n)
        pairs: list[tuple[Beside, Beside]] = []
        for i in range(ROUNDS):
            without = answer(session, served, NullObserver(), made)
            policy = CapturePolicy(max_rows_per_hour=SPENT)
            with captured(folder / f"beside-{n}-{i}", bundle, policy) as capture:
                capture.start()
                pairs.append((answer(session, served, capture, made), without))
        columns = (
            [a.cpu_us for a, _ in pairs],
            [b.cpu_us for _, b in pairs],
            [a.cpu_us - b.cpu_us for a, b in pairs],
            [a.longest_ms for a, _ in pairs],
            [b.longest_ms for _, b in pairs],
        )
        print(f"{f'{n} together':26} " + " ".join(f"{spread(c):>22}" for c in columns))


if __name__ == "__main__":
    main()
