"""What ingest makes of bytes from devices: rows, or a reason; never anything else."""

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline import topics
from fogline.errors import Corrupt, Unavailable, Untrusted
from fogline.ids import shard_of
from fogline.topics import STREAMS
from fogline.wire.auth import derive_key, seal
from fogline.wire.fleet_pb2 import Feedbacks, Log, Samples, Summary
from fogline_hub.ingest.batch import Batch
from fogline_hub.ingest.received import KeyRing, Received, digest_of, read_message
from fogline_hub.ingest.rows import MAX_NAME_CHARS, Columns, rows_of
from fogline_hub.lake import Source
from fogline_hub.lake.tables import schema_of
from tests.ingest_hubs import event, feedback, samples

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MASTER = bytes(range(32))
D = "device-a"


def key_of(device: str) -> bytes:
    return derive_key(MASTER, "up", device)


def ring() -> KeyRing:
    return KeyRing(key_of, 10)


def sealed(log: Log, stream: str = "event", device: str = D) -> tuple[str, bytes]:
    topic = topics.up_log(device, stream)
    return topic, seal(log, key=key_of(device), direction="up", topic=topic)


def received(body: bytes, seq: int = 1, stream: str = "sample") -> Received:
    return Received(
        source=Source(D, "outbox-1", stream), seq=seq, floor=1, body=body,
        body_digest=digest_of(body), received_at=NOW,
    )  # fmt: skip


def gather(*messages: Columns, schema: pa.Schema | None = None, max_columns: int = 100) -> pa.Table:
    batch = Batch(schema or schema_of(messages[0].table), max_columns=max_columns)
    for seq, columns in enumerate(messages, 1):
        batch.add(received(b"", seq), columns)
    return batch.table()


def test_a_sealed_message_is_read_with_the_device_of_its_topic() -> None:
    log = Log(outbox_id="o", stream="event", seq=3, floor=2, body=b"x")
    message = read_message(*sealed(log), ring(), NOW)
    assert message == Received(
        source=Source(D, "o", "event"), seq=3, floor=2, body=b"x",
        body_digest=digest_of(b"x"), received_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    "log",
    [
        Log(outbox_id="o", stream="event", seq=0, floor=0),
        Log(outbox_id="o", stream="event", seq=1, floor=0),
        Log(outbox_id="o", stream="event", seq=1, floor=2),
        Log(outbox_id="o", stream="event", seq=2**63, floor=1),
        Log(outbox_id="o", stream="sample", seq=1, floor=1),
        Log(outbox_id="", stream="event", seq=1, floor=1),
        Log(outbox_id="a/b", stream="event", seq=1, floor=1),
    ],
)
def test_an_authentic_message_that_cannot_be_identified_is_corrupt(log: Log) -> None:
    with pytest.raises(Corrupt) as caught:
        read_message(*sealed(log), ring(), NOW)
    assert not isinstance(caught.value, Untrusted)


def test_a_message_of_another_device_stream_or_content_is_untrusted() -> None:
    log = Log(outbox_id="o", stream="event", seq=1, floor=1, body=b"x")
    _, payload = sealed(log)
    for topic in (topics.up_log("device-b", "event"), topics.up_log(D, "alarm")):
        with pytest.raises(Untrusted):
            read_message(topic, payload, ring(), NOW)
    with pytest.raises(Untrusted):
        read_message(topics.up_log(D, "event"), payload.replace(b"x", b"y"), ring(), NOW)


def test_topics_that_are_no_device_logs_are_corrupt() -> None:
    for topic in (
        "fl/1/up/16/x/log/event",
        f"fl/1/up/{(shard_of(D) + 1) % 16}/{D}/log/event",
        topics.up_state(D),
        "",
    ):
        with pytest.raises(Corrupt):
            read_message(topic, b"", ring(), NOW)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_payload_is_read_or_corrupt(payload: bytes) -> None:
    with pytest.raises(Corrupt):
        read_message(topics.up_log(D, "event"), payload, ring(), NOW)


def test_keys_are_asked_for_once_and_the_least_used_one_is_forgotten() -> None:
    asked = []

    def ask(device: str) -> bytes:
        asked.append(device)
        return key_of(device)

    keys = KeyRing(ask, 2)
    for device in ("a", "b", "a", "c", "a", "b"):
        assert keys.key(device) == key_of(device)
    assert asked == ["a", "b", "c", "b"]


def test_a_key_that_cannot_be_had_is_not_remembered() -> None:
    is_up = False

    def ask(device: str) -> bytes:
        if not is_up:
            raise Unavailable("the signer does not answer")
        return key_of(device)

    keys = KeyRing(ask, 2)
    with pytest.raises(Unavailable):
        keys.key("a")
    is_up = True
    assert keys.key("a") == key_of("a")


@settings(deadline=None)
@given(st.sampled_from(STREAMS), st.binary(max_size=300))
def test_any_body_is_rows_or_corrupt(stream: str, body: bytes) -> None:
    try:
        columns = rows_of(stream, body)
    except Corrupt:
        return
    assert {len(v) for v in columns.values.values()} == {columns.rows}
    gather(columns)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_body_is_rows_or_corrupt(data: st.DataObject) -> None:
    stream, body = data.draw(
        st.sampled_from(
            [
                ("sample", samples().SerializeToString()),
                ("feedback", feedback(("p", 1)).SerializeToString()),
                ("event", event("x", a="b")),
            ]
        )
    )
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :]
    try:
        gather(rows_of(stream, damaged))
    except Corrupt:
        return


REFUSED: dict[str, Callable[[Samples], object]] = {
    "no rows": lambda m: m.ClearField("prediction_ids"),
    "event_us has 3 values for 2 rows": lambda m: m.event_us.append(1),
    "years 1 to 9999": lambda m: m.event_us.__setitem__(0, 2**62),
    "inclusion_probability must": lambda m: m.inclusion_probability.__setitem__(1, float("nan")),
    "version 0": lambda m: setattr(m.scope, "version", 0),
    "model name": lambda m: setattr(m.scope, "model", "../etc"),
    "column in.dew is there twice": lambda m: m.inputs.add(name="dew", fp32=[1, 2]),
    "in.dew has 3 values for 2 rows of 1": lambda m: m.inputs[0].fp32.append(1.0),
    "in.dew has 2 lists of values": lambda m: m.inputs[0].int64.append(1),
    "in.empty has 0 lists of values": lambda m: m.inputs.add(name="empty"),
    "printable characters": lambda m: setattr(m.inputs[0], "name", "a\nb"),
    "1 to 128": lambda m: setattr(m.inputs[0], "name", "x" * (MAX_NAME_CHARS + 1)),
    "prediction id": lambda m: m.prediction_ids.__setitem__(0, "p 0"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_samples_that_cannot_be_are_refused_with_the_reason(reason: str) -> None:
    message = samples()
    REFUSED[reason](message)
    with pytest.raises(Corrupt) as caught:
        rows_of("sample", message.SerializeToString())
    assert reason in str(caught.value)


def test_actuals_keep_their_kind_and_all_their_digits() -> None:
    message = Feedbacks()
    for actual in (
        {"int64_value": 3},
        {"int64_value": 2**60 + 1},
        {"double_value": 0.5},
        {"bool_value": True},
        {"string_value": "rain"},
    ):
        message.items.add(prediction_id="p", model="m", version=1, **actual)
    columns = rows_of("feedback", message.SerializeToString())
    assert columns.values["actual_number"] == [3.0, float(2**60 + 1), 0.5, 1.0, None]
    assert columns.values["actual_text"] == [None, str(2**60 + 1), None, None, "rain"]
    message.items.add(prediction_id="p", model="m", version=1)
    with pytest.raises(Corrupt, match="no actual"):
        rows_of("feedback", message.SerializeToString())


def test_a_summary_is_kept_byte_for_byte() -> None:
    message = Summary(requests=2, failures=1, rows=9)
    message.scope.CopyFrom(samples().scope)
    message.inputs.add(name="x", bins=[1, 2], sum=3.5)
    body = message.SerializeToString()
    assert rows_of("summary", body).constants["body"] == body
    message.inputs[0].sum = float("inf")
    with pytest.raises(Corrupt, match="column x"):
        rows_of("summary", message.SerializeToString())


def test_messages_with_different_columns_fill_up_with_nulls() -> None:
    plain, wide = samples(rows=2), samples(rows=1, start=2)
    wide.inputs.add(name="extra", fp64=[9.0])
    del wide.inputs[0]
    table = gather(
        rows_of("sample", plain.SerializeToString()), rows_of("sample", wide.SerializeToString())
    )
    assert table["in.extra"].to_pylist() == [None, None, 9.0]
    assert table["in.dew"].to_pylist() == [0.5, 1.5, None]
    assert table["seq"].to_pylist() == [1, 1, 2]


def test_a_column_of_another_type_is_refused_unless_nothing_is_lost() -> None:
    schema = schema_of("samples-rain").append(pa.field("in.day", pa.float64()))
    columns = rows_of("sample", samples().SerializeToString())
    assert gather(columns, schema=schema)["in.day"].to_pylist() == [0.0, 1.0]
    columns.values["in.day"][0] = 2**53 + 1
    with pytest.raises(Corrupt, match="would round"):
        gather(columns, schema=schema)
    texts = schema_of("samples-rain").append(pa.field("in.dew", pa.binary()))
    with pytest.raises(Corrupt, match=r"in\.dew is double and the table holds binary"):
        gather(rows_of("sample", samples().SerializeToString()), schema=texts)


def test_columns_that_differ_in_case_only_are_refused() -> None:
    message = samples()
    message.inputs.add(name="DEW", fp32=[1, 2])
    with pytest.raises(Corrupt, match="case of letters"):
        gather(rows_of("sample", message.SerializeToString()))


def test_a_table_has_a_bound_of_columns() -> None:
    columns = rows_of("sample", samples().SerializeToString())
    known = len(schema_of("samples-rain"))
    with pytest.raises(Corrupt, match="4 more columns"):
        gather(columns, max_columns=known + 3)
    assert gather(columns, max_columns=known + 4).num_rows == 2
