from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from fogline import topics
from fogline.clock import ManualClock
from fogline.errors import Exhausted, Unavailable
from fogline.wire import fleet_pb2
from fogline.wire.auth import unseal
from fogline_edge.link import DeviceKeys, ModelLine, Reporter, Share
from fogline_edge.outbox import Database, DeviceTime

KEYS = DeviceKeys(device="dev", up_key=b"u" * 32, down_key=b"d" * 32)


class Wire:
    """A session with room for `room` messages without a PUBACK."""

    def __init__(self, room: int = 64) -> None:
        self.is_connected = True
        self.room = room
        self.open: list[Future[None]] = []
        self.payloads: list[bytes] = []

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "Future[None]":
        assert topic
        assert qos == 1
        if len(self.open) >= self.room:
            raise Exhausted("no room")
        self.payloads.append(payload)
        self.open.append(Future())
        return self.open[-1]

    def acknowledge(self) -> None:
        self.open.pop(0).set_result(None)


class Bench:
    def __init__(self, path: Path) -> None:
        self.wire = Wire()
        self.database = Database.open(path)
        self.lines: list[ModelLine] = []
        self.reporter = Reporter(
            self.database,
            self.wire,
            KEYS,
            "outbox",
            DeviceTime(ManualClock(), boot="boot"),
            lines=lambda: self.lines,
            metrics=lambda: {"requests": 1},
            generation=lambda: 5,
        )

    def sent(self) -> list[fleet_pb2.Reported]:
        topic = topics.up_state("dev")
        return [
            unseal(fleet_pb2.Reported, p, key=KEYS.up_key, direction="up", topic=topic)
            for p in self.wire.payloads
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state.db")
    yield made
    made.database.close()


def test_the_desired_state_is_asked_for_until_a_session_took_the_question(bench: Bench) -> None:
    bench.reporter.ask()
    bench.wire.is_connected = False
    assert not bench.reporter.send()
    bench.wire.is_connected = True
    bench.wire.room = 0
    assert not bench.reporter.send()
    bench.wire.room = 64
    assert bench.reporter.send()
    assert bench.reporter.send()
    assert [m.want_desired for m in bench.sent()] == [True, False]
    bench.reporter.ask()
    assert bench.reporter.send()
    assert bench.sent()[-1].want_desired


@pytest.mark.parametrize("models", [1, 60, 200])
def test_a_report_always_fits_one_message_with_every_model_in_it(bench: Bench, models: int) -> None:
    bench.lines = [
        ModelLine(
            name=f"m{i}" + "x" * 58,
            version=i + 1,
            digest="0" * 64,
            variant="int8-dynamic",
            state=fleet_pb2.REJECTED,
            reason="\N{SNOWMAN}" * 1500,
        )
        for i in range(models)
    ]
    assert bench.reporter.send()
    assert len(bench.wire.payloads[0]) <= topics.MAX_PAYLOAD_BYTES
    (message,) = bench.sent()
    assert [m.version for m in message.models] == [line.version for line in bench.lines]
    assert len({len(m.reason) for m in message.models}) == 1


def test_counters_grow_over_a_restart_though_the_clock_stands_still(bench: Bench) -> None:
    for _ in range(3):
        assert bench.reporter.send()
    counters = [m.counter for m in bench.sent()]
    assert counters == sorted(set(counters))


def test_a_share_leaves_room_and_gets_its_places_back() -> None:
    wire = Wire(room=3)
    share = Share(wire, max_in_flight=2)
    share.publish("t", b"1")
    share.publish("t", b"2")
    with pytest.raises(Exhausted, match="share"):
        share.publish("t", b"3")
    wire.publish("t", b"report")
    wire.acknowledge()
    with pytest.raises(Exhausted, match="share"):
        share.publish("t", b"3") and share.publish("t", b"4")
    wire.open.pop(0).set_exception(Unavailable("the session ended"))
    wire.acknowledge()
    wire.acknowledge()
    assert share.publish("t", b"5")
    assert share.publish("t", b"6")


def test_a_share_keeps_no_place_for_what_the_connection_refused() -> None:
    wire = Wire(room=0)
    share = Share(wire, max_in_flight=1)
    for _ in range(3):
        with pytest.raises(Exhausted, match="no room"):
            share.publish("t", b"1")
    wire.room = 1
    assert share.publish("t", b"1")
