"""Samples joined with feedback, and summaries, as retraining and judging read them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fogline.errors import InvalidInput
from fogline.wire.fleet_pb2 import Feedbacks, Samples, Summary
from fogline_hub.ingest.batch import Batch
from fogline_hub.ingest.received import Received, digest_of
from fogline_hub.ingest.rows import rows_of
from fogline_hub.lake import Lake, Source, State, count_labelled, samples, summaries
from tests.ingest_hubs import feedback
from tests.ingest_hubs import samples as sample_message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Store:
    """Puts messages into a lake as ingest does."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.seq = 0

    def put(
        self, stream: str, message: Samples | Feedbacks | Summary, *, device: str = "device-a",
        at: datetime = NOW,
    ) -> None:  # fmt: skip
        self.seq += 1
        body = message.SerializeToString()
        columns = rows_of(stream, body)
        writer = self.lake.writer(columns.table)
        received = Received(
            source=Source(device, "outbox-1", stream), seq=self.seq, floor=1, body=body,
            body_digest=digest_of(body), received_at=at,
        )  # fmt: skip
        batch = Batch(writer.schema(), max_columns=100)
        batch.add(received, columns)
        writer.append(batch.table(), State())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Lake(tmp_path / "lake"))


def test_a_model_without_samples_has_none(store: Store) -> None:
    assert samples(store.lake, "rain").num_rows == 0
    assert samples(store.lake, "rain", labelled=True).num_rows == 0
    assert count_labelled(store.lake, "rain") == 0
    assert list(summaries(store.lake, "rain")) == []


def test_samples_come_in_order_of_event_time_with_weights_and_texts(store: Store) -> None:
    late, early = sample_message(rows=2, start=10), sample_message(rows=2, start=0)
    early.inclusion_probability[0] = 0.1
    store.put("sample", late)
    store.put("sample", early)
    table = samples(store.lake, "rain")
    assert table["prediction_id"].to_pylist() == ["p0", "p1", "p10", "p11"]
    assert table["weight"].to_pylist() == pytest.approx([10.0, 2.0, 2.0, 2.0])
    assert table["in.site"].to_pylist() == ["a"] * 4
    assert table["actual_number"].to_pylist() == [None] * 4


def test_bytes_that_are_no_text_stay_bytes(store: Store) -> None:
    message = sample_message(rows=1)
    message.inputs[2].raw[0] = b"\xff\x00"
    store.put("sample", message)
    assert samples(store.lake, "rain")["in.site"].to_pylist() == [b"\xff\x00"]


def test_the_first_actual_of_a_row_counts_and_only_from_its_own_device(store: Store) -> None:
    store.put("sample", sample_message(rows=3))
    store.put("feedback", feedback(("p1", 0)), device="device-b")
    store.put("feedback", feedback(("p0", 5)), at=NOW + timedelta(hours=2))
    store.put("feedback", feedback(("p0", 4)), at=NOW + timedelta(hours=1))
    table = samples(store.lake, "rain")
    assert table["actual_number"].to_pylist() == [4.0, None, None]
    labelled = samples(store.lake, "rain", labelled=True)
    assert labelled["prediction_id"].to_pylist() == ["p0"]
    assert count_labelled(store.lake, "rain") == 2


def test_samples_of_lists_can_be_joined(store: Store) -> None:
    message = sample_message(rows=2)
    message.inputs.add(name="lags", datatype="FP32", width=2, fp32=[1, 2, 3, 4])
    store.put("sample", message)
    store.put("feedback", feedback(("p1", 1)))
    table = samples(store.lake, "rain", labelled=True)
    assert table["in.lags"].to_pylist() == [[3.0, 4.0]]


def test_versions_and_event_times_choose(store: Store) -> None:
    second = sample_message(rows=4, start=0)
    second.scope.version = 2
    store.put("sample", sample_message(rows=4, start=100))
    store.put("sample", second)
    assert samples(store.lake, "rain", versions=(2,)).num_rows == 4
    assert samples(store.lake, "rain", versions=(1, 2)).num_rows == 8
    chosen = samples(
        store.lake, "rain", since=EPOCH + timedelta(seconds=2), until=EPOCH + timedelta(seconds=101)
    )
    assert chosen["prediction_id"].to_pylist() == ["p2", "p3", "p100"]


def test_summaries_come_by_window_and_can_be_read_on_from_a_time(store: Store) -> None:
    for hour, received in ((2, NOW), (1, NOW + timedelta(days=1))):
        message = Summary(requests=hour, rows=hour)
        message.scope.CopyFrom(sample_message().scope)
        message.scope.window_start_us = hour * 3_600_000_000
        store.put("summary", message, at=received)
    found = list(summaries(store.lake, "rain"))
    assert [s.message.requests for s in found] == [1, 2]
    assert [s.message.requests for s in summaries(store.lake, "rain", received_after=NOW)] == [1]
    start = EPOCH + timedelta(hours=2)
    assert [s.message.requests for s in summaries(store.lake, "rain", since=start)] == [2]
    assert [s.message.requests for s in summaries(store.lake, "rain", until=start)] == [1]
    assert list(summaries(store.lake, "rain", versions=(9,))) == []


def test_a_name_that_is_no_models_is_refused(store: Store) -> None:
    for name in ("", "../x", "a/b"):
        with pytest.raises(InvalidInput):
            samples(store.lake, name)
        with pytest.raises(InvalidInput):
            list(summaries(store.lake, name))
