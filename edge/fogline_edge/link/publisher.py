"""From the outbox to the broker, and the hub's acknowledgements back.

One thread publishes what `Window` says, only ever rows that the outbox has committed. An
acknowledgement deletes rows after its authentication code, expiry and counter were checked, so that
a broker, or whoever took it over, can withhold messages but not make the device forget them.
"""

import logging
import random
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import DecodeError

from fogline import topics
from fogline.backoff import Random
from fogline.clock import Clock, SystemClock
from fogline.errors import Corrupt, Exhausted, FoglineError, Unavailable, Untrusted
from fogline.failpoints import reach
from fogline.wire import fleet_pb2
from fogline.wire.auth import seal, unseal
from fogline_edge.link.window import Window, WindowConfig
from fogline_edge.outbox import Outbox

MAX_WAITING_ACKS = 64
"""Received acknowledgements not yet handled; older ones give way, because later ones say more."""
ERROR_PAUSE_S = 5.0
"""Wait after the outbox failed, before the next try, in seconds."""
RETRY_S = 1.0
"""Longest wait after the connection refused a message, in seconds."""
_LOG_EVERY = 100

_log = logging.getLogger(__name__)


class Publishes(Protocol):
    """What the publisher needs of a connection; `fogline.mqtt.MqttConnection` is one."""

    @property
    def is_connected(self) -> bool: ...

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "Future[None]":
        """See `MqttConnection.publish`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKeys:
    """Who the device is, and the two keys that it shares with the hub."""

    device: str
    up_key: bytes = field(repr=False)
    down_key: bytes = field(repr=False)


@dataclass(slots=True)
class PublishCounts:
    """Since the start of the process."""

    messages: int = 0
    bytes: int = 0
    acks: int = 0
    acks_refused: int = 0


class Publisher:
    """Publishes the outbox over `connection` from `start` to `stop`.

    The owner of the connection calls `connected` from its `on_connect`, and `on_ack` with each
    payload on the topic `down/<device>/ack`; both return at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        connection: Publishes,
        keys: DeviceKeys,
        *,
        config: WindowConfig | None = None,
        clock: Clock | None = None,
        rng: Random = random.random,
    ) -> None:
        self._outbox = outbox
        self._connection = connection
        self._keys = keys
        self._ack_topic = topics.down(keys.device, "ack")
        self._clock = clock or SystemClock()
        self._window = Window(config, rng=rng)
        self._acks: deque[bytes] = deque(maxlen=MAX_WAITING_ACKS)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._has_reconnected = True
        self._has_rows = True
        self._thread: threading.Thread | None = None
        self.counts = PublishCounts()
        outbox.on_commit(self._rows_added)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the thread; what is not acknowledged stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def wake(self) -> None:
        """Has the thread look again now."""
        self._wake.set()

    def connected(self) -> None:
        """A new session is up."""
        self._has_reconnected = True
        self._wake.set()

    def on_ack(self, payload: bytes) -> None:
        """Takes a payload of the topic `down/<device>/ack`; it is checked on the thread."""
        self._acks.append(payload)
        self._wake.set()

    def _rows_added(self) -> None:
        self._has_rows = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait_s = self.step()
            except FoglineError as e:
                _log.error("publisher failed", extra={"reason": str(e)})
                wait_s = ERROR_PAUSE_S
            except Exception:  # a task boundary: the device must not fall silent over one fault
                _log.exception("publisher failed")
                wait_s = ERROR_PAUSE_S
            self._wake.wait(wait_s)

    def step(self) -> float | None:
        """Does all that can be done now, without waiting.

        Returns:
            Seconds until there may be more to do without a `wake`; None if nothing is due.

        Raises:
            Corrupt, Exhausted, Unavailable: the outbox failed.
        """
        self._take_acks()
        if not self._connection.is_connected:
            return None
        if self._has_reconnected:
            self._has_reconnected = False
            self._window.connected()
        self._load()
        while (found := self._window.next(self._clock.monotonic())) is not None:
            if not self._publish(*found):
                return RETRY_S
            if self._acks:
                self._take_acks()
            self._load()
        due_at = self._window.due_at()
        return None if due_at is None else max(0.0, due_at - self._clock.monotonic())

    def _load(self) -> None:
        if not self._has_rows:
            return
        self._has_rows = False
        for stream, after, room in list(self._window.wants()):
            self._window.offer(stream, self._outbox.sizes(stream, after, room))

    def _publish(self, stream: str, seq: int) -> bool:
        """Hands one row to the connection; returns whether it can take another."""
        row = self._outbox.row(stream, seq)
        if row is None:
            self._window.gone(stream, seq, self._clock.monotonic())
            self._has_rows = True
            return True
        message = fleet_pb2.Log(
            outbox_id=self._outbox.outbox_id,
            stream=stream,
            seq=seq,
            floor=self._outbox.floor(stream),
            stamp=row.stamp,
            body=row.body,
        )
        topic = topics.up_log(self._keys.device, stream)
        payload = seal(message, key=self._keys.up_key, direction="up", topic=topic)
        reach("publish.before")
        try:
            future = self._connection.publish(topic, payload)
        except (Unavailable, Exhausted):
            return False  # `connected`, or a PUBACK, wakes the thread earlier
        reach("publish.after")
        self._window.sent(stream, seq, self._clock.monotonic())
        self.counts.messages += 1
        self.counts.bytes += len(payload)
        future.add_done_callback(lambda _: self._wake.set())
        return True

    def _take_acks(self) -> None:
        while self._acks:
            payload = self._acks.popleft()
            try:
                self._take_ack(payload)
            except Corrupt as e:
                self.counts.acks_refused += 1
                if self.counts.acks_refused % _LOG_EVERY == 1:
                    _log.warning(
                        "acknowledgement refused",
                        extra={"reason": str(e), "refused": self.counts.acks_refused},
                    )

    def _take_ack(self, payload: bytes) -> None:
        ack, counter = self._unsealed(payload)
        if not self._outbox.acknowledge(ack, counter=counter):
            raise Untrusted("an acknowledgement for another outbox, or one taken before")
        ranges = [(r.first, r.last) for r in ack.ranges]
        self._window.acknowledged(ack.stream, ack.contiguous_to, ranges, self._clock.monotonic())
        self._has_rows = True
        self.counts.acks += 1
        for refused in ack.quarantined[:_LOG_EVERY]:
            _log.warning(
                "the hub set a row aside",
                extra={"stream": ack.stream, "seq": refused.seq, "reason": refused.reason[:200]},
            )

    def _unsealed(self, payload: bytes) -> tuple[fleet_pb2.Ack, int]:
        if len(payload) > topics.MAX_PAYLOAD_BYTES:
            raise Corrupt(f"an acknowledgement of {len(payload)} bytes")
        signed = unseal(
            fleet_pb2.Signed,
            payload,
            key=self._keys.down_key,
            direction="down",
            topic=self._ack_topic,
        )
        time = self._outbox.time
        # A clock that nobody confirmed may be years ahead, and would refuse every word that could
        # confirm it; the counter alone stops replays until then.
        if time.is_confirmed and signed.expires_us < time.wall_us():
            raise Untrusted("an acknowledgement that has expired")
        try:
            return fleet_pb2.Ack.FromString(signed.body), signed.counter
        except (DecodeError, ValueError) as e:
            raise Corrupt(f"not an acknowledgement: {e}") from e
