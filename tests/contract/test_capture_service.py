"""Capture over a real outbox, judged by what is in the outbox."""

import threading
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import SystemClock, wait_until
from fogline.desired import CapturePolicy
from fogline.errors import InvalidInput
from fogline.schema import Field, Schema
from fogline.summaries import Partial, Reference, Scope
from fogline.wire import fleet_pb2
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline_edge.capture import Capture, CaptureConfig
from fogline_edge.capture.track import split_summary
from fogline_edge.outbox import MAX_BODY_BYTES, Outbox
from fogline_edge.serving import Observation
from fogline_edge.serving.models import ServedModel
from tests.capturing import (
    HOUR_US,
    LABELS,
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


def normal(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (rows, 3)).astype(np.float32)


def merged(summaries: list[fleet_pb2.Summary], reference: Reference) -> Partial:
    parts = [Partial.from_message(s, reference) for s in summaries]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    return whole


def test_all_traffic_is_counted_exactly_from_many_threads(tmp_path: Path) -> None:
    x = normal(4000)
    reference = reference_of(normal(1000, seed=9))
    device = Device(tmp_path / "d")
    device.capture.set_policy("iris", 3, CapturePolicy(sample_rate=0.1), reference, SCHEMA)
    device.capture.start()

    def send(worker: int) -> None:
        for start in range(worker * 1000, (worker + 1) * 1000, 5):
            device.serve(x[start : start + 5])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    device.capture.stop()
    whole = merged(device.summaries(), reference)
    assert (whole.requests, whole.failures, whole.rows) == (800, 0, 4000)
    for i, name in enumerate("abc"):
        edges = next(f.edges for f in reference.inputs if f.name == name)
        places = np.searchsorted(edges, x[:, i].astype(np.float64))
        expected = np.bincount(places, minlength=len(edges) + 1)
        assert whole.inputs.counts(name).tolist() == expected.tolist()
    labels = np.bincount(outputs_of(x)["label"], minlength=3)
    categories = next(f.categories for f in reference.outputs if f.name == "label")
    assert whole.outputs.counts("label").tolist() == [*(labels[int(c)] for c in categories), 0]
    assert whole.latency.counts.sum() == 800
    device.outbox.close()


def test_windows_are_of_event_time_and_scopes_name_what_answered(device: Device) -> None:
    device.capture.set_policy("iris", 3, CapturePolicy(sample_rate=0.0), Reference())
    for hours in (0, 0.5, 1, -3):
        device.serve(normal(2), event_us=START_US + int(hours * HOUR_US))
    device.capture.flush()
    found = {(s.scope.window_start_us - START_US) // HOUR_US: s.rows for s in device.summaries()}
    assert found == {0: 4, 1: 2, -3: 2}
    scope = device.summaries()[0].scope
    assert (scope.model, scope.version, scope.variant, scope.generation, scope.window_us) == (
        "iris", 3, "fp32", 7, HOUR_US,
    )  # fmt: skip


def test_nothing_is_written_before_the_interval_and_all_of_it_at_once_after(
    device: Device,
) -> None:
    device.capture.set_policy("iris", 3, CapturePolicy(flush_interval_s=10), Reference())
    device.serve(normal(2))
    device.capture.flush(device.clock.monotonic())
    device.clock.advance(9)
    device.serve(normal(2))
    device.capture.flush(device.clock.monotonic())
    assert device.summaries() == []
    device.clock.advance(1)
    device.capture.flush(device.clock.monotonic())
    assert [s.rows for s in device.summaries()] == [4]


def test_the_thread_flushes_by_itself(tmp_path: Path) -> None:
    made = Device(tmp_path / "d")
    capture = Capture(made.outbox, tmp_path, clock=SystemClock())
    policy = CapturePolicy(flush_interval_s=0.05)
    capture.set_policy("iris", 3, policy, Reference())
    capture.start()
    capture.observe([made.observation([normal(3)], [START_US], [100])])
    assert wait_until(lambda: len(made.summaries()) == 1, timeout_s=5)
    capture.stop()
    made.stop()


def test_failed_requests_are_counted_as_failures(device: Device) -> None:
    device.capture.set_policy("iris", 3, ALL, Reference())
    failed = Observation(
        served=device.served,
        inputs={},
        outputs={},
        rows=(0,),
        event_us=(START_US,),
        prediction_ids=(),
        latency_us=(5,),
        error=InvalidInput("bad"),
    )
    device.capture.observe([failed])
    device.serve(normal(1))
    device.capture.flush()
    summary = device.summaries()[0]
    assert (summary.requests, summary.failures, summary.rows) == (2, 1, 1)


def test_a_sample_is_the_row_with_its_answer_id_and_probability(device: Device) -> None:
    device.capture.set_policy("iris", 3, ALL, Reference())
    x = normal(3)
    prediction_id = device.serve(x, event_us=START_US + 5)
    device.capture.flush()
    (sample,) = device.samples()
    assert list(sample.prediction_ids) == [prediction_id] * 3
    assert list(sample.row_in_request) == [0, 1, 2]
    assert list(sample.event_us) == [START_US + 5] * 3
    assert list(sample.inclusion_probability) == [1.0] * 3
    assert sample.policy == "uniform"
    columns = {c.name: c for c in (*sample.inputs, *sample.outputs)}
    assert list(columns) == [
        "a", "b", "c", "label", "probabilities[0]", "probabilities[1]", "probabilities[2]",
    ]  # fmt: skip
    assert list(columns["b"].fp32) == x[:, 1].tolist()
    assert (columns["b"].datatype, columns["b"].width) == ("FP32", 1)
    assert list(columns["label"].int64) == outputs_of(x)["label"].tolist()


def test_the_sample_rate_is_kept_and_probabilities_are_told(device: Device) -> None:
    device.capture.set_policy("iris", 3, CapturePolicy(sample_rate=0.2), Reference())
    for n in range(100):
        device.serve(normal(50, seed=n))
    device.capture.flush()
    p = [v for s in device.samples() for v in s.inclusion_probability]
    assert set(p) == {0.2}
    assert abs(len(p) - 1000) < 4 * np.sqrt(5000 * 0.2 * 0.8)


def test_uncertain_rows_are_kept_more_often_and_say_so(device: Device) -> None:
    policy = CapturePolicy(sample_rate=0.1, strategy="uncertain")
    device.capture.set_policy("iris", 3, policy, Reference())
    sure = np.tile(np.array([[9, 0, 0]], np.float32), (2000, 1))
    torn = np.tile(np.array([[1, 1, 0]], np.float32), (2000, 1))
    device.serve(sure)
    device.serve(torn)
    device.capture.flush()
    by_row: dict[float, list[float]] = {}
    for sample in device.samples():
        first = next(c for c in sample.inputs if c.name == "a")
        for value, p in zip(first.fp32, sample.inclusion_probability, strict=True):
            by_row.setdefault(value, []).append(p)
    assert np.mean(by_row[9.0]) == pytest.approx(0.1, abs=0.001)
    assert np.mean(by_row[1.0]) == pytest.approx(0.5, abs=0.001)
    assert len(by_row[1.0]) > 4 * len(by_row[9.0])


def test_the_hourly_budget_holds(device: Device) -> None:
    policy = CapturePolicy(sample_rate=1.0, max_rows_per_hour=200)
    device.capture.set_policy("iris", 3, policy, Reference())
    for n in range(100):
        device.serve(normal(50, seed=n))
        device.capture.flush()
        device.clock.advance(36)
    rows = sum(len(s.prediction_ids) for s in device.samples())
    assert 200 < rows < 400 + 3 * 20
    assert all(p > 0 for s in device.samples() for p in s.inclusion_probability)


def test_without_a_policy_a_version_is_counted_and_nothing_of_it_is_kept(device: Device) -> None:
    device.serve(normal(50))
    device.capture.flush()
    assert [s.rows for s in device.summaries()] == [50]
    assert device.samples() == []


def test_long_samples_are_split_to_fit_a_message(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_message_bytes=8192))
    device.capture.set_policy("iris", 3, ALL, Reference())
    ids = [device.serve(normal(100, seed=n)) for n in range(20)]
    device.capture.flush()
    bodies = [r.body for r in device.outbox.pending("sample")]
    assert len(bodies) > 10
    assert max(map(len, bodies)) <= 8192
    pairs = [
        (i, r)
        for s in device.samples()
        for i, r in zip(s.prediction_ids, s.row_in_request, strict=True)
    ]
    assert pairs == [(i, r) for i in ids for r in range(100)]
    device.stop()


def test_strings_wide_tensors_and_wide_integers_travel_and_too_long_ones_stay(
    device: Device,
) -> None:
    schema = Schema(
        inputs=(
            Field(name="text", datatype="BYTES", shape=(-1,)),
            Field(name="image", datatype="UINT8", shape=(-1, 4, 5)),
            Field(name="huge", datatype="FP32", shape=(-1, 3000)),
            Field(name="flag", datatype="BOOL", shape=(-1, 1)),
            Field(name="big", datatype="UINT64", shape=(-1,)),
        ),
        outputs=(Field(name="score", datatype="FP64", shape=(-1,), role="score"),),
    )
    served = ServedModel(name="mixed", version=1, schema=schema, runner=device.served.runner)
    device.capture.set_policy("mixed", 1, ALL, Reference())
    image = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    device.capture.observe(
        [
            Observation(
                served=served,
                inputs={
                    "text": np.array(["wet", "y" * 2000, "drü"], object),
                    "image": image,
                    "huge": np.zeros((3, 3000), np.float32),
                    "flag": np.array([[True], [False], [True]]),
                    "big": np.array([2**64 - 1, 1, 2], np.uint64),
                },
                outputs={"score": np.array([0.5, 1.5, np.nan])},
                rows=(3,),
                event_us=(START_US,),
                prediction_ids=("abc",),
                latency_us=(1,),
            )
        ]
    )
    device.capture.flush()
    (sample,) = device.samples()
    columns = {c.name: c for c in (*sample.inputs, *sample.outputs)}
    assert list(sample.row_in_request) == [0, 2]
    assert list(columns["text"].raw) == [b"wet", "drü".encode()]
    assert (columns["image"].width, list(columns["image"].int64[:3])) == (20, [0, 1, 2])
    assert "huge" not in columns
    assert list(columns["flag"].flags) == [True, True]
    assert list(columns["big"].fp64) == [float(2**64 - 1), 2.0]
    assert columns["score"].fp64[0] == 0.5


def test_many_windows_at_once_are_flushed_early(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_scopes=8))
    for n in range(100):
        device.serve(normal(1), event_us=START_US + n * HOUR_US)
    device.capture.flush(device.clock.monotonic())
    assert len(device.summaries()) >= 90
    device.stop()
    again = Outbox.open(tmp_path / "d" / "outbox.db")
    assert len(again.pending("summary")) == 100
    again.close()


def test_what_a_full_buffer_leaves_out_is_counted(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(max_buffer_requests=10))
    for n in range(25):
        device.serve(normal(2, seed=n))
    device.capture.flush()
    assert [s.rows for s in device.summaries()] == [20]
    assert device.events() == [
        ("capture_overflow", {"requests": "15", "rows_not_summarised": "30"})
    ]
    device.stop()
    assert Device(tmp_path / "d").events() == [
        ("capture_overflow", {"requests": "15", "rows_not_summarised": "30"})
    ]


def test_a_summary_that_is_too_long_is_split_into_parts_that_add_up() -> None:
    x = normal(500)
    reference = reference_of(x)
    partial = Partial(reference, Scope(model="iris", version=3, window_us=HOUR_US))
    partial.add({n: x[:, i] for i, n in enumerate("abc")}, requests=9, rows=500)
    message = partial.to_message()
    parts = list(split_summary(message, 200))
    assert len(parts) > 3
    assert all(p.ByteSize() <= 200 for p in parts)
    whole = merged(parts, reference)
    assert whole.to_message().SerializeToString(deterministic=True) == message.SerializeToString(
        deterministic=True
    )


def test_a_new_policy_closes_the_old_windows(device: Device) -> None:
    device.capture.set_policy("iris", 3, CapturePolicy(window_s=3600), Reference())
    device.serve(normal(1))
    device.capture.set_policy("iris", 3, CapturePolicy(window_s=60), Reference())
    device.serve(normal(1))
    device.capture.flush()
    assert [s.scope.window_us for s in device.summaries()] == [3_600_000_000, 60_000_000]


def test_outcomes_are_on_the_disk_at_once_and_share_messages(tmp_path: Path) -> None:
    device = Device(tmp_path / "d")
    ids = [device.serve(normal(1)) for _ in range(50)]
    for prediction_id in ids:
        device.capture.feedback(feedback(prediction_id, [1]))
    with device.outbox.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM feedback_taken").fetchone() == (50,)
    assert device.capture.waiting_outcomes == 50
    device.capture.flush(now=0.0)
    assert device.outbox.pending("feedback") == []
    device.capture.flush(now=2.0)
    assert device.capture.waiting_outcomes == 0
    assert len(device.outbox.pending("feedback")) == 1
    assert [i.prediction_id for i in device.feedback_items()] == ids
    device.stop()


def test_feedback_carries_what_the_prediction_id_knows(device: Device) -> None:
    device.capture.set_policy("iris", 3, CapturePolicy(), reference_of(normal(100)), SCHEMA)
    prediction_id = device.serve(normal(2), event_us=START_US + 9)
    assert device.capture.feedback(feedback(prediction_id, [1, 0])) == (2, 0)
    items = device.feedback_items()
    assert [(i.prediction_id, i.row, i.model, i.version, i.event_us) for i in items] == [
        (prediction_id, 0, "iris", 3, START_US + 9),
        (prediction_id, 1, "iris", 3, START_US + 9),
    ]
    assert [i.int64_value for i in items] == [1, 0]
    assert items[0].observed_us == device.outbox.time.wall_us()


def test_an_outcome_counts_once_also_after_a_restart(tmp_path: Path) -> None:
    device = Device(tmp_path / "d")
    prediction_id = device.serve(normal(3))
    assert device.capture.feedback(feedback(prediction_id, [1])) == (1, 0)
    assert device.capture.feedback(feedback(prediction_id, [2, 2, 2])) == (2, 1)
    twice = feedback(prediction_id, [1, 1])
    twice.actuals[1].row = 0
    assert device.capture.feedback(twice) == (0, 2)
    device.stop()
    again = Device(tmp_path / "d")
    assert again.capture.feedback(feedback(prediction_id, [1, 1, 1])) == (0, 3)
    assert [i.row for i in again.feedback_items()] == [0, 1, 2]
    again.stop()


def test_outcomes_join_the_confusion_counts_of_their_predictions_window(device: Device) -> None:
    reference = reference_of(normal(500))
    device.capture.set_policy("iris", 3, CapturePolicy(sample_rate=0.0), reference, SCHEMA)
    expected = np.zeros((3, 3), int)
    source = np.random.default_rng(3)
    for n in range(60):
        x = normal(4, seed=n)
        prediction_id = device.serve(x, event_us=START_US + n % 2 * HOUR_US)
        actuals = source.integers(0, 3, 4)
        device.capture.feedback(feedback(prediction_id, actuals.tolist()))
        if n % 2 == 0:
            for actual, predicted in zip(actuals, outputs_of(x)["label"], strict=True):
                expected[actual, predicted] += 1
    device.capture.flush()
    in_window = [s for s in device.summaries() if s.scope.window_start_us == START_US]
    whole = merged(in_window, reference)
    assert whole.confusion.counts.tolist() == expected.reshape(-1).tolist()
    assert whole.rows == 120


def test_feedback_after_a_restart_is_counted_by_what_the_id_carries(tmp_path: Path) -> None:
    device = Device(tmp_path / "d")
    x = np.array([[5, 0, 0]], np.float32)
    prediction_id = device.serve(x)
    device.stop()
    again = Device(tmp_path / "d")
    again.capture.set_policy("iris", 3, CapturePolicy(), reference_of(normal(100)), SCHEMA)
    assert again.capture.feedback(feedback(prediction_id, [2])) == (1, 0)
    again.capture.flush()
    labelled = [s.confusion for s in again.summaries() if s.confusion.counts]
    assert [list(c.counts).index(1) for c in labelled] == [2 * len(LABELS) + 0]
    again.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction_id": ""}, "0 characters"),
        ({"prediction_id": "A" * 56}, "not one of this device"),
        ({"prediction_id": "x y"}, "base64url|not one of this device"),
        ({"actuals": []}, "0 actuals"),
        ({"actuals": [FeedbackRequest.Actual(row=2, int64_value=1)]}, "has 2 rows"),
        ({"actuals": [FeedbackRequest.Actual(row=0)]}, "has no value"),
        ({"actuals": [FeedbackRequest.Actual(row=0, string_value="x" * 2000)]}, "longer than 1024"),
        ({"actuals": [FeedbackRequest.Actual(row=0, int64_value=1)] * 5000}, "5000 actuals"),
        ({"observed_at_us": -1}, "negative"),
    ],
)
def test_bad_feedback_says_what_was_wrong_and_stores_nothing(
    device: Device, change: dict[str, object], message: str
) -> None:
    prediction_id = device.serve(normal(2))
    good: dict[str, object] = {
        "prediction_id": prediction_id,
        "actuals": [FeedbackRequest.Actual(row=0, int64_value=1)],
    }
    with pytest.raises(InvalidInput, match=message):
        device.capture.feedback(FeedbackRequest(**{**good, **change}))  # type: ignore[arg-type]
    assert device.feedback_items() == []


def test_another_devices_id_is_refused(tmp_path: Path, device: Device) -> None:
    other = Device(tmp_path / "other")
    foreign = other.serve(normal(1))
    other.stop()
    device.serve(normal(1))
    with pytest.raises(InvalidInput, match="not one of this device"):
        device.capture.feedback(feedback(foreign, [1]))


def test_the_memory_of_outcomes_is_bounded(tmp_path: Path) -> None:
    device = Device(tmp_path / "d", config=CaptureConfig(feedback_memory_rows=10))
    ids = [device.serve(normal(1, seed=n)) for n in range(30)]
    for prediction_id in ids:
        device.capture.feedback(feedback(prediction_id, [1]))
    with device.outbox.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM feedback_seen").fetchone() == (10,)
    assert device.capture.feedback(feedback(ids[-1], [1])) == (0, 1)
    device.stop()


def test_many_callers_share_commits_and_each_outcome_is_stored_once(device: Device) -> None:
    ids = [device.serve(normal(1, seed=n)) for n in range(80)]
    results: list[tuple[int, int]] = []

    def give(mine: list[str]) -> None:
        results.extend(device.capture.feedback(feedback(i, [1])) for i in mine)

    # Every id is given by two threads; one of each pair is a duplicate.
    threads = [threading.Thread(target=give, args=(ids[n % 4 :: 4],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(a for a, _ in results), sum(d for _, d in results)) == (80, 80)
    assert sorted(i.prediction_id for i in device.feedback_items()) == sorted(ids)


def test_a_clean_stop_leaves_nothing_to_report(tmp_path: Path) -> None:
    device = Device(tmp_path / "d")
    device.serve(normal(7))
    device.stop()
    again = Device(tmp_path / "d")
    assert again.events() == []
    again.stop()


def test_no_message_is_longer_than_an_outbox_row() -> None:
    assert CaptureConfig().max_message_bytes <= MAX_BODY_BYTES
