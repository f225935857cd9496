"""A device and a model hub joined by a link that drops, delays, doubles and reorders.

The outbox, window and publisher are the real ones; the hub here is the smallest thing that keeps
the protocol: it stores unseen numbers, commits now and then, and acknowledges what it committed.
"""

import random
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline import topics
from fogline.clock import ManualClock
from fogline.errors import Exhausted, Unavailable
from fogline.wire import fleet_pb2
from fogline.wire.auth import seal, unseal
from fogline_edge.link import DeviceKeys, Publisher
from fogline_edge.outbox import Outbox

KEYS = DeviceKeys(device="d1", up_key=b"u" * 32, down_key=b"d" * 32)
ACK_TOPIC = topics.down("d1", "ack")
LIMIT_S = 40_000


def spans(numbers: set[int]) -> Iterator[tuple[int, int]]:
    run: list[int] = []
    for n in sorted(numbers):
        if run and n != run[-1] + 1:
            yield run[0], run[-1]
            run = []
        run.append(n)
    if run:
        yield run[0], run[-1]


class ModelHub:
    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._counter = 0
        self._fresh: dict[str, dict[int, bytes]] = {s: {} for s in topics.STREAMS}
        self._heard: set[str] = set()
        self.stored: dict[str, dict[int, bytes]] = {s: {} for s in topics.STREAMS}
        self.floors = dict.fromkeys(topics.STREAMS, 1)
        self.received = 0
        self.outbox_id = ""

    def receive(self, topic: str, payload: bytes) -> None:
        log = unseal(fleet_pb2.Log, payload, key=KEYS.up_key, direction="up", topic=topic)
        self.received += 1
        self.outbox_id = log.outbox_id
        self._heard.add(log.stream)
        known = self.stored[log.stream].get(log.seq, self._fresh[log.stream].get(log.seq))
        assert known in (None, log.body), "the same number with other content"
        assert log.floor <= log.seq
        self.floors[log.stream] = max(self.floors[log.stream], log.floor)
        if log.seq not in self.stored[log.stream]:
            self._fresh[log.stream][log.seq] = log.body

    def crash(self) -> None:
        self._fresh = {s: {} for s in topics.STREAMS}
        self._heard = set()

    def commit(self) -> list[bytes]:
        """Stores what is fresh and returns the acknowledgements' payloads."""
        out = []
        for stream in self._heard:
            fresh = self._fresh[stream]
            assert not fresh.keys() & self.stored[stream].keys(), "stored twice"
            self.stored[stream].update(fresh)
            numbers = set(self.stored[stream]) | set(range(1, self.floors[stream]))
            runs = list(spans(numbers))
            first = runs.pop(0) if runs and runs[0][0] == 1 else (1, 0)
            ack = fleet_pb2.Ack(
                outbox_id=self.outbox_id,
                stream=stream,
                contiguous_to=first[1],
                ranges=[fleet_pb2.Ack.Range(first=a, last=b) for a, b in runs[:64]],
            )
            self._counter += 1
            signed = fleet_pb2.Signed(body=ack.SerializeToString(), counter=self._counter)
            out.append(seal(signed, key=KEYS.down_key, direction="down", topic=ACK_TOPIC))
        self.crash()
        return out


class Link:
    """Implements `Publishes`; a message is lost, doubled, or late by up to `delay_s`."""

    def __init__(self, source: random.Random, clock: ManualClock, rates: "Rates") -> None:
        self._random = source
        self._clock = clock
        self._rates = rates
        self._travelling: list[tuple[float, str, bytes]] = []
        self._open: list[Future[None]] = []
        self.is_connected = True

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "Future[None]":
        if not self.is_connected:
            raise Unavailable("down")
        if len(self._open) >= 16:
            raise Exhausted("in flight")
        self.send(topic, payload)
        future: Future[None] = Future()
        self._open.append(future)
        return future

    def send(self, topic: str, payload: bytes) -> None:
        copies = 0 if self._random.random() < self._rates.drop else 1
        copies += self._random.random() < self._rates.double
        for _ in range(copies):
            at = self._clock.monotonic() + self._random.random() * self._rates.delay_s
            self._travelling.append((at, topic, payload))

    def arrived(self) -> list[tuple[str, bytes]]:
        """What has come through; PUBACKs are given for all, lost or not."""
        for future in self._open:
            future.set_result(None)
        self._open.clear()
        now = self._clock.monotonic()
        due = sorted((m for m in self._travelling if m[0] <= now), key=lambda m: m[0])
        self._travelling = [m for m in self._travelling if m[0] > now]
        return [(topic, payload) for _, topic, payload in due]

    def cut(self) -> None:
        self.is_connected = False
        self._travelling.clear()
        for future in self._open:
            future.set_exception(Unavailable("cut"))
        self._open.clear()


class Rates:
    def __init__(self, drop: float, double: float, delay_s: float, trouble: float) -> None:
        self.drop = drop
        self.double = double
        self.delay_s = delay_s
        self.trouble = trouble


class Pair:
    def __init__(self, path: Path, seed: int, rates: Rates) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.rates = rates
        self.path = path
        self.link = Link(self.random, self.clock, rates)
        self.hub = ModelHub(self.random)
        self.written: dict[str, list[bytes]] = {s: [] for s in topics.STREAMS}
        self.open_device()

    def open_device(self) -> None:
        self.outbox = Outbox.open(self.path, clock=self.clock)
        self.publisher = Publisher(
            self.outbox, self.link, KEYS, clock=self.clock, rng=self.random.random
        )

    def write(self, count: int) -> None:
        rows = []
        for _ in range(count):
            stream = self.random.choice(topics.STREAMS)
            body = b"%s %d" % (stream.encode(), len(self.written[stream]))
            self.written[stream].append(body)
            rows.append((stream, body))
        self.outbox.append(rows)

    def trouble(self) -> None:
        if self.random.random() >= self.rates.trouble:
            return
        match self.random.randrange(3):
            case 0:
                self.link.cut()
            case 1:
                self.hub.crash()
            case _:
                self.outbox.close()
                self.open_device()
                self.publisher.connected()

    def second(self, *, is_quiet: bool) -> None:
        self.publisher.step()
        for topic, payload in self.link.arrived():
            if topic == ACK_TOPIC:
                self.publisher.on_ack(payload)
            else:
                self.hub.receive(topic, payload)
        if self.random.random() < 0.5:
            for payload in self.hub.commit():
                self.link.send(ACK_TOPIC, payload)
        if not is_quiet:
            self.trouble()
        if not self.link.is_connected and self.random.random() < 0.2:
            self.link.is_connected = True
            self.publisher.connected()
        self.clock.advance(1)

    def pending(self) -> int:
        return sum(c.pending for c in self.outbox.counts().values())


rates = st.builds(
    Rates,
    drop=st.sampled_from([0.0, 0.1, 0.5]),
    double=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([0.0, 3.0, 20.0]),
    trouble=st.sampled_from([0.0, 0.05, 0.2]),
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rates=rates)
def test_all_rows_arrive_exactly_once_and_the_outbox_empties(
    seed: int, rates: Rates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair") / "o.db", seed, rates)
    for _ in range(40):
        pair.write(pair.random.randrange(8))
        pair.second(is_quiet=False)
    seconds = 0
    while pair.pending() and seconds < LIMIT_S:
        pair.second(is_quiet=seconds > 200)
        seconds += 1
    assert seconds < LIMIT_S, "the process did not end"
    for stream in topics.STREAMS:
        bodies = [body for _, body in sorted(pair.hub.stored[stream].items())]
        assert bodies == pair.written[stream]
        assert sorted(pair.hub.stored[stream]) == list(range(1, len(bodies) + 1))
    pair.outbox.close()


def test_a_hub_that_is_down_is_not_flooded_and_catches_up_fast(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "o.db", 1, Rates(0.0, 0.0, 0.0, 0.0))
    pair.write(2000)
    pair.rates.drop = 1.0
    for _ in range(3600):
        pair.second(is_quiet=True)
    published_while_down = pair.publisher.counts.messages
    assert published_while_down < 5 * 20
    pair.rates.drop = 0.0
    seconds = 0
    while pair.pending():
        pair.second(is_quiet=True)
        seconds += 1
    assert seconds < 1000
    assert pair.publisher.counts.messages - published_while_down < 2000 * 1.1
    pair.outbox.close()


def test_an_ack_that_is_forged_foreign_or_replayed_deletes_nothing(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "o.db", 1, Rates(0.0, 0.0, 0.0, 0.0))
    pair.write(20)
    before = pair.pending()

    def word(
        *,
        key: bytes = KEYS.down_key,
        topic: str = ACK_TOPIC,
        counter: int = 5,
        outbox_id: str = "",
        stream: str = "sample",
        upto: int = 0,
        hub_time_us: int = 0,
        expires_us: int = 0,
    ) -> bytes:
        ack = fleet_pb2.Ack(
            outbox_id=outbox_id or pair.outbox.outbox_id,
            stream=stream,
            contiguous_to=upto,
            hub_time_us=hub_time_us,
        )
        signed = fleet_pb2.Signed(
            body=ack.SerializeToString(), counter=counter, expires_us=expires_us
        )
        return seal(signed, key=key, direction="down", topic=topic)

    good = word(upto=1)
    now_us = pair.outbox.time.wall_us()
    for refused, payload in enumerate(
        [
            word(key=b"x" * 32, upto=1),
            word(key=KEYS.up_key, upto=1),
            word(topic=topics.down("d1", "desired"), upto=1),
            word(outbox_id="another", upto=1),
            word(stream="nonsense", upto=1),
            b"\xff\xff",
            b"",
            good[:-1],
            bytes(70_000),
        ],
        start=1,
    ):
        pair.publisher.on_ack(payload)
        pair.publisher.step()
        assert (pair.pending(), pair.publisher.counts.acks_refused) == (before, refused)
    pair.publisher.on_ack(word(hub_time_us=now_us, counter=6))
    pair.publisher.step()
    assert pair.outbox.time.is_confirmed
    for payload in (word(upto=1, counter=6), word(upto=1, counter=7, expires_us=now_us - 1)):
        pair.publisher.on_ack(payload)
        pair.publisher.step()
        assert pair.pending() == before
    pair.publisher.on_ack(word(upto=1, counter=7, expires_us=now_us + 60_000_000))
    pair.publisher.step()
    assert pair.pending() == before - 1
    pair.outbox.close()
