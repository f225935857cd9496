"""Requests in stacks: counted and sampled as if each came by itself, held within bounds."""

import doctest
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogline.clock import SystemClock, wait_until
from fogline.desired import CapturePolicy
from fogline.errors import InvalidInput
from fogline.schema import Field, Schema
from fogline.summaries import Reference, build_reference
from fogline.tensors import Array
from fogline.wire import fleet_pb2
from fogline_edge.capture import Capture, CaptureConfig, buffer
from fogline_edge.serving import Observation, ServedModel
from tests.capturing import (
    HOUR_US,
    SCHEMA,
    START_US,
    Device,
    device,
    feedback,
    outputs_of,
    reference_of,
)

__all__ = ["device"]

ALL = CapturePolicy(sample_rate=1.0, max_rows_per_hour=10**9)
TRAINING = np.random.default_rng(1).normal(0, 1, (300, 3)).astype(np.float32)


def counts(summaries: Sequence[fleet_pb2.Summary]) -> dict[str, bytes]:
    """By scope, all that is counted; sums of floats depend on the order of addition."""
    found = {}
    for summary in summaries:
        for column in (*summary.inputs, *summary.outputs):
            column.ClearField("sum")
            column.ClearField("sum_squares")
        key = summary.scope.SerializeToString(deterministic=True).hex()
        assert key not in found
        found[key] = summary.SerializeToString(deterministic=True)
    return found


def sampled(device: Device) -> Counter[tuple[object, ...]]:
    """Rows by all that is said of them, ids up to the serial number, which always differs."""
    rows: Counter[tuple[object, ...]] = Counter()
    for sample in device.samples():
        columns = {c.name: list(c.fp32 or c.int64) for c in (*sample.inputs, *sample.outputs)}
        for i, (id_, row) in enumerate(
            zip(sample.prediction_ids, sample.row_in_request, strict=True)
        ):
            values = tuple((name, column[i]) for name, column in columns.items())
            rows[id_[:30], row, sample.event_us[i], values] += 1
    return rows


Served = tuple[int, int, int, bool]
"""Rows, event time in half hours from the start, latency, and whether all outputs were wanted."""

REQUESTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(0, 10**6), st.booleans()),
    min_size=1,
    max_size=24,
)


@given(requests=REQUESTS, sizes=st.lists(st.integers(1, 9), max_size=24), seed=st.integers(0, 99))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_came_in_stacks_is_counted_and_sampled_as_what_came_alone(
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[Served],
    sizes: list[int],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("devices")
    source = np.random.default_rng(seed)
    values = [source.normal(0, 1, (r, 3)).astype(np.float32) for r, *_ in requests]
    found = []
    for name, each in (("alone", [1] * len(requests)), ("stacked", sizes)):
        device = Device(folder / name)
        device.capture.set_policy("iris", 3, ALL, reference_of(TRAINING), SCHEMA)
        steps, at = [*each], 0
        while at < len(requests):
            # A stack is of requests that want the same outputs, as the scheduler makes it.
            step = steps.pop(0) if steps else len(requests)
            stack = requests[at : at + step]
            while len({wants_all for *_, wants_all in stack}) > 1:
                stack.pop()
            device.serve_stack(
                values[at : at + len(stack)],
                [START_US + half_hours * HOUR_US // 2 for _, half_hours, *_ in stack],
                [latency for _, _, latency, _ in stack],
                ("label", "probabilities") if stack[0][3] else ("label",),
            )
            at += len(stack)
        device.capture.flush()
        found.append((counts(device.summaries()), sampled(device)))
        device.stop()
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]


def test_each_request_of_a_stack_has_its_own_id_that_outcomes_join_by(device: Device) -> None:
    device.capture.set_policy("iris", 3, ALL, reference_of(TRAINING), SCHEMA)
    parts = [TRAINING[:2], TRAINING[2:2], TRAINING[2:3], TRAINING[3:10]]
    times = [START_US + n for n in range(4)]
    ids = device.serve_stack(parts, times, [1, 2, 3, 4])
    assert len(set(ids)) == 4
    device.capture.flush()
    (sample,) = device.samples()
    rows = [(ids[n], row, times[n]) for n in (0, 2, 3) for row in range(len(parts[n]))]
    assert [
        *zip(sample.prediction_ids, sample.row_in_request, sample.event_us, strict=True)
    ] == rows
    assert list(sample.inputs[0].fp32) == TRAINING[:10, 0].tolist()
    right = outputs_of(TRAINING[3:10])["label"].tolist()
    assert device.capture.feedback(feedback(ids[3], right)) == (7, 0)
    with pytest.raises(InvalidInput, match="has 0 rows"):
        device.capture.feedback(feedback(ids[1], [1]))
    device.capture.flush()
    confusion = [s.confusion for s in device.summaries() if s.confusion.counts]
    assert [sum(c.counts[0::4]) for c in confusion] == [7]


def test_failures_of_a_stack_are_counted_by_request_and_window(device: Device) -> None:
    device.capture.set_policy("iris", 3, ALL, Reference())
    stack = device.observation(
        [TRAINING[:1], TRAINING[:2], TRAINING[:3]],
        [START_US, START_US + HOUR_US, START_US + HOUR_US + 1],
        [1, 1, 1],
    )
    stack.outputs, stack.error = {}, InvalidInput("no")
    device.capture.observe([stack])
    device.capture.flush()
    found = {s.scope.window_start_us: (s.requests, s.failures, s.rows) for s in device.summaries()}
    assert found == {START_US: (1, 1, 0), START_US + HOUR_US: (2, 2, 0)}


def test_a_failed_requests_inputs_take_no_room(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_buffer_bytes=10_000))
    device.capture.set_policy("iris", 3, ALL, reference_of(TRAINING), SCHEMA)
    for _ in range(5):
        stack = device.observation([TRAINING] * 3, [START_US] * 3, [1] * 3)
        stack.outputs, stack.error = {}, InvalidInput("no")
        device.capture.observe([stack])
    device.capture.flush()
    assert [(s.requests, s.failures) for s in device.summaries()] == [(15, 15)]
    device.stop()


def free_shaped(device: Device) -> ServedModel:
    schema = Schema(
        inputs=(Field(name="tokens", datatype="FP32", shape=(-1, -1)),),
        outputs=(
            Field(name="boxes", datatype="FP32", shape=(-1, 2), columns=("left", "right")),
            Field(name="score", datatype="FP32", shape=(-1,)),
        ),
    )
    return ServedModel(name="free", version=1, schema=schema, runner=device.served.runner)


def test_tensors_of_other_shapes_and_without_rows_cost_their_neighbours_nothing(
    device: Device,
) -> None:
    """Two widths; a detector whose boxes are as many as it found, not as many as rows."""
    served = free_shaped(device)
    reference = build_reference(
        {"tokens[0]": np.arange(9.0), "tokens[2]": np.arange(9.0)},
        {"left": np.arange(9.0), "score": np.arange(9.0)},
    )
    device.capture.set_policy("free", 1, ALL, reference, served.schema)
    for n, (width, boxes) in enumerate([(2, 1), (3, 4), (2, 0), (3, 1), (1, 1)]):
        device.capture.observe(
            [
                Observation(
                    served=served,
                    inputs={"tokens": np.full((1, width), n, np.float32)},
                    outputs={
                        "boxes": np.full((boxes, 2), n, np.float32),
                        "score": np.array([n], np.float32),
                    },
                    rows=(1,),
                    event_us=(START_US,),
                    prediction_ids=(f"p{n}",),
                    latency_us=(1,),
                )
            ]
        )
    device.capture.flush()
    (summary,) = device.summaries()
    assert (summary.requests, summary.rows) == (5, 5)
    seen = {c.name: sum(c.bins) for c in (*summary.inputs, *summary.outputs)}
    # A tensor of width 1 is one column with the tensor's own name.
    assert seen == {"tokens[0]": 4, "tokens[2]": 2, "left": 3, "score": 5}
    ids = sorted(i for s in device.samples() for i in s.prediction_ids)
    assert ids == ["p0", "p1", "p2", "p3", "p4"]
    for sample in device.samples():
        assert all(len(c.fp32) == c.width * len(sample.prediction_ids) for c in sample.inputs)


def image_model(device: Device) -> ServedModel:
    schema = Schema(
        inputs=(Field(name="image", datatype="UINT8", shape=(-1, 64, 64)),),
        outputs=(Field(name="score", datatype="FP32", shape=(-1,)),),
    )
    return ServedModel(name="image", version=1, schema=schema, runner=device.served.runner)


def observe_image(device: Device, served: ServedModel, image: Array) -> None:
    stack = Observation(
        served=served,
        inputs={"image": image},
        outputs={"score": np.zeros(len(image), np.float32)},
        rows=(len(image),),
        event_us=(START_US,),
        prediction_ids=("i",),
        latency_us=(1,),
    )
    device.capture.observe([stack])


def test_tensors_that_nobody_looks_at_take_no_room(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_buffer_bytes=100_000))
    served = image_model(device)
    device.capture.set_policy("image", 1, ALL, Reference(), served.schema)
    for _ in range(100):
        observe_image(device, served, np.zeros((10, 64, 64), np.uint8))
    device.capture.flush()
    assert [s.rows for s in device.summaries()] == [1000]
    assert {c.name for s in device.samples() for c in s.inputs} == set()
    device.stop()


def test_what_a_buffer_full_of_bytes_leaves_out_is_counted(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_buffer_bytes=20_000))
    device.capture.set_policy("iris", 3, ALL, reference_of(TRAINING), SCHEMA)
    for _ in range(10):
        device.serve_stack([TRAINING[:100], TRAINING[:100]], [START_US, START_US], [1, 1])
    device.capture.flush()
    taken = sum(s.rows for s in device.summaries())
    assert 0 < taken < 2000
    ((kind, details),) = device.events()
    assert kind == "capture_overflow"
    assert int(details["rows_not_summarised"]) == 2000 - taken
    assert int(details["requests"]) == 20 - taken // 100
    device.stop()


def test_dense_traffic_is_counted_long_before_the_longest_wait(
    device: Device, tmp_path: Path
) -> None:
    config = CaptureConfig(drain_requests=10, drain_interval_s=3600)
    capture = Capture(device.outbox, tmp_path, config=config, clock=SystemClock())
    capture.set_policy("iris", 3, CapturePolicy(flush_interval_s=1e-6), Reference())
    capture.start()
    for _ in range(10):
        capture.observe([device.observation([TRAINING[:1]] * 4, [START_US] * 4, [1] * 4)])
    assert wait_until(lambda: sum(s.rows for s in device.summaries()) == 40, timeout_s=10)
    capture.stop()


def test_samples_beyond_the_bound_go_to_the_outbox_early(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_sample_bytes=20_000))
    device.capture.set_policy("iris", 3, ALL, Reference(), SCHEMA)
    for _ in range(10):
        device.serve(TRAINING[:100])
        device.capture.flush(device.clock.monotonic())
    assert sum(len(s.prediction_ids) for s in device.samples()) >= 800
    device.stop()


def test_doctests() -> None:
    assert doctest.testmod(buffer).failed == 0


def test_requests_wait_neither_for_the_disk_nor_for_the_capture_thread(device: Device) -> None:
    """Also the first one of a version that capture has never heard of."""
    newcomer = ServedModel(name="new", version=9, schema=SCHEMA, runner=device.served.runner)
    stack = device.observation([TRAINING[:5]], [START_US], [1])
    stack.served = newcomer
    ids: list[str] = []

    def ask() -> None:
        ids.extend(device.capture.prediction_ids(newcomer, [5], [START_US], stack.outputs))
        device.capture.observe([stack])

    with device.outbox.transaction():  # nobody else writes or flushes meanwhile
        flush = threading.Thread(target=device.capture.flush)
        flush.start()
        request = threading.Thread(target=ask)
        request.start()
        request.join(10)
        assert not request.is_alive()
    flush.join(10)
    device.capture.flush()
    assert [(s.scope.model, s.rows) for s in device.summaries()] == [("new", 5)]
    assert device.capture.feedback(feedback(ids[0], [1])) == (1, 0)


def test_the_version_unused_for_longest_gives_way_and_loses_no_count(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_models=2))
    for version in (1, 2, 1, 3):
        device.clock.advance(1)
        served = ServedModel(
            name="iris", version=version, schema=SCHEMA, runner=device.served.runner
        )
        stack = device.observation([TRAINING[:10]], [START_US], [1])
        stack.served = served
        device.capture.observe([stack])
        device.capture.flush(device.clock.monotonic())
    assert [(s.scope.version, s.rows) for s in device.summaries()] == [(2, 10)]
    device.capture.flush()
    rows = Counter[int]()
    for summary in device.summaries():
        rows[summary.scope.version] += summary.rows
    assert rows == {1: 20, 2: 10, 3: 10}
    device.stop()
