"""From a device's publish to rows in the lake and an ack on the device, on real parts."""

from fogline import topics
from fogline.clock import wait_until
from fogline.wire.auth import seal
from fogline.wire.fleet_pb2 import Log, Summary
from fogline_hub.ingest import read_counts
from tests.ingest_hubs import (
    IngestHub,
    event,
    feedback,
    ingest_hub,
    samples,
    settle,
)

__all__ = ["ingest_hub"]

D = "device-a"


def test_every_stream_is_stored_once_and_acknowledged(ingest_hub: IngestHub) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    summary = Summary(requests=3, rows=5)
    summary.scope.CopyFrom(samples().scope)
    bodies = {
        "sample": samples().SerializeToString(),
        "feedback": feedback(("p0", 1), ("p1", 0)).SerializeToString(),
        "summary": summary.SerializeToString(),
        "event": event("started"),
        "alarm": event("overheated"),
    }
    for stream, body in bodies.items():
        device.send(stream, 1, body)
        device.send(stream, 1, body)  # the broker may deliver twice
    for stream in bodies:
        settle(ingest_hub, device, stream)
    assert ingest_hub.seqs("samples-rain", D) == [1, 1]  # two rows of one message
    assert ingest_hub.seqs("feedback", D) == [1, 1]
    assert ingest_hub.seqs("summaries", D) == [1]
    kinds = ingest_hub.lake.table("events").read(["stream", "kind"]).to_pylist()
    assert sorted(kinds, key=str) == [
        {"stream": "alarm", "kind": "overheated"},
        {"stream": "event", "kind": "started"},
    ]
    stored = ingest_hub.lake.table("samples-rain").read()
    assert stored["in.dew"].to_pylist() == [0.5, 1.5]
    assert stored["in.site"].to_pylist() == [b"a", b"a"]
    assert stored["out.label"].to_pylist() == [0, 1]
    body = ingest_hub.lake.table("summaries").read(["body"])["body"][0].as_py()
    assert Summary.FromString(body) == summary


def test_acks_name_ranges_around_what_is_missing(ingest_hub: IngestHub) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    for seq in (1, 2, 4, 5, 9):
        device.send("event", seq, event())
    settle(ingest_hub, device, "event")
    last = device.acks[-1]
    assert last.contiguous_to == 2
    assert [(r.first, r.last) for r in last.ranges] == [(4, 5), (9, 9)]
    assert last.hub_time_us > 0


def test_a_body_that_cannot_be_read_is_set_aside_and_acknowledged_with_the_reason(
    ingest_hub: IngestHub,
) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    poison = samples()
    poison.inclusion_probability[0] = 0.0
    device.send("sample", 1, poison.SerializeToString())
    device.send("sample", 2, b"\xff\xff\xff")
    device.send("sample", 3, samples().SerializeToString())
    settle(ingest_hub, device, "sample")
    reasons = {q.seq: q.reason for ack in device.acks for q in ack.quarantined}
    assert "inclusion_probability" in reasons[1]
    assert "no Samples" in reasons[2]
    assert set(reasons) == {1, 2}
    aside = ingest_hub.lake.table("quarantine").read(["seq", "stream", "reason", "payload"])
    assert sorted(aside["seq"].to_pylist()) == [1, 2]
    assert b"\xff\xff\xff" in aside["payload"].to_pylist()
    assert set(ingest_hub.seqs("samples-rain", D)) == {3}


def test_a_forged_message_is_neither_stored_nor_acknowledged(ingest_hub: IngestHub) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    topic = topics.up_log(D, "event")
    forged = Log(outbox_id=device.outbox_id, stream="event", seq=1, floor=1, body=event("forged"))
    device.publish("event", seal(forged, key=bytes(32), direction="up", topic=topic))
    replayed = device.log("alarm", 1, event("moved"))  # made for another topic
    device.publish("event", replayed)
    device.publish("event", b"no message at all")
    device.send("event", 2, event("true"))
    settle(ingest_hub, device, "event")
    assert ingest_hub.seqs("events", D) == [2]
    assert not any(ack.contiguous_to for ack in device.acks)
    run = ingest_hub.folder / "run"
    assert wait_until(lambda: read_counts(run).acks == 1, timeout_s=10)
    assert read_counts(run).unauthenticated == 2
    assert read_counts(run).malformed == 1


def test_the_same_number_with_other_content_is_set_aside_and_raises_an_alarm(
    ingest_hub: IngestHub,
) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    device.send("event", 1, event("first"))
    settle(ingest_hub, device, "event")
    device.publish("event", device.log("event", 1, event("second")))
    assert wait_until(
        lambda: ingest_hub.seqs("quarantine", D) == [1],
        timeout_s=20,
    )
    assert wait_until(
        lambda: ingest_hub.lake.table("events").read(["kind"]).num_rows == 2, timeout_s=20
    )
    kinds = ingest_hub.lake.table("events").read(["stream", "kind"]).to_pylist()
    assert {"stream": "hub", "kind": "sequence_conflict"} in kinds
    assert {"stream": "event", "kind": "second"} not in kinds


def test_numbers_below_the_floor_that_never_came_are_reported_once_as_dropped(
    ingest_hub: IngestHub,
) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    device.send("event", 2, event())
    device.send("event", 10, event(), floor=8)
    device.send("event", 11, event(), floor=10)
    settle(ingest_hub, device, "event")
    rows = ingest_hub.lake.table("events").read(["stream", "kind", "details"]).to_pylist()
    told = [row["details"] for row in rows if row["kind"] == "dropped_by_device"]
    assert [r["stream"] for r in rows if r["kind"] == "dropped_by_device"] == ["hub", "hub"]
    assert '"ranges":[[1,1],[3,7]]' in told[0]
    assert '"rows":6' in told[0]
    assert '"ranges":[[8,9]]' in told[1]
    assert device.acks[-1].contiguous_to == 11


def test_a_new_column_joins_the_table_and_older_rows_have_none(ingest_hub: IngestHub) -> None:
    ingest_hub.start()
    device = ingest_hub.device(D)
    device.send("sample", 1, samples().SerializeToString())
    settle(ingest_hub, device, "sample")
    newer = samples(start=2)
    newer.inputs.add(name="sepal length (cm)", datatype="FP64", width=1, fp64=[1.0, 2.0])
    newer.inputs.add(name="lags", datatype="FP32", width=3, fp32=[1, 2, 3, 4, 5, 6])
    device.send("sample", 2, newer.SerializeToString())
    settle(ingest_hub, device, "sample")
    rows = ingest_hub.lake.table("samples-rain").read().sort_by("seq")
    assert rows["in.sepal length (cm)"].to_pylist() == [None, None, 1.0, 2.0]
    assert rows["in.lags"].to_pylist()[2:] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_a_retained_message_is_ignored(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    assert device.connection is not None
    session = device.connection._session
    assert session is not None
    payload = device.log("event", 1, event("kept by the broker"))
    session._client.publish(topics.up_log(D, "event"), payload, qos=1, retain=True)
    device.send("event", 2, event("nobody hears it"))
    ingest_hub.start()
    device.send("event", 3, event("new"))
    device.resend("event")
    settle(ingest_hub, device, "event")
    assert ingest_hub.seqs("events", D) == [2, 3]
    run = ingest_hub.folder / "run"
    assert wait_until(lambda: read_counts(run).retained == 1, timeout_s=10)


def test_an_outbox_beside_another_has_numbers_of_its_own(ingest_hub: IngestHub) -> None:
    ingest_hub.start()
    first = ingest_hub.device(D)
    first.send("event", 1, event("first"))
    settle(ingest_hub, first, "event")
    second = ingest_hub.device(D, outbox_id="outbox-2")
    second.send("event", 1, event("second"))
    settle(ingest_hub, second, "event")
    assert ingest_hub.seqs("events", D) == [1, 1]
