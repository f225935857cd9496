"""What this device says of itself: its own truth, on connect, on every change, and now and then."""

import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fogline import __version__, topics
from fogline.errors import Exhausted, Unavailable
from fogline.wire import fleet_pb2
from fogline.wire.auth import seal
from fogline_edge.link.publisher import DeviceKeys, Publishes
from fogline_edge.outbox import Database, DeviceTime

_STEPS = ("CREATE TABLE reports (id INTEGER PRIMARY KEY CHECK (id = 1), counter INTEGER NOT NULL)",)

REASON_CHARS = (1000, 200, 40, 0)
"""Longest reasons of a report; of one that would be too long to send, the next shorter ones."""
_MAX_BYTES = topics.MAX_PAYLOAD_BYTES - 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """One version in a report."""

    name: str
    version: int
    digest: str
    variant: str
    state: fleet_pb2.ModelState
    reason: str = ""


class Reporter:
    """Publishes reports with a counter that only grows, also over restarts and clock jumps.

    Args:
        database: Keeps the counter.
        connection: Where reports go; without a session they are simply not sent, because the next
            connect asks for one.
        keys: Who the device is.
        outbox_id: Names this life of the device.
        time: For stamps.
        lines: The models, when asked.
        metrics: Counters, when asked.
        generation: Of the desired state that the device holds, when asked.
    """

    def __init__(
        self,
        database: Database,
        connection: Publishes,
        keys: DeviceKeys,
        outbox_id: str,
        time: DeviceTime,
        *,
        lines: Callable[[], Iterable[ModelLine]],
        metrics: Callable[[], Mapping[str, int]],
        generation: Callable[[], int],
    ) -> None:
        database.migrate("reports", _STEPS)
        self._database = database
        self._connection = connection
        self._keys = keys
        self._topic = topics.up_state(keys.device)
        self._outbox_id = outbox_id
        self._time = time
        self._lines = lines
        self._metrics = metrics
        self._generation = generation
        self._asked = 0
        self._told = 0

    def ask(self) -> None:
        """Has reports ask for the desired state, until one that does was taken by a session."""
        self._asked += 1

    def send(self) -> bool:
        """Publishes one report; returns whether there was a session to take it.

        Raises:
            Exhausted, Corrupt, Unavailable: the counter cannot be stored.
        """
        if not self._connection.is_connected:
            return False
        asked = self._asked
        message = self._message(want_desired=asked != self._told)
        payload = seal(message, key=self._keys.up_key, direction="up", topic=self._topic)
        try:
            self._connection.publish(self._topic, payload)
        except (Unavailable, Exhausted) as e:
            _log.info("report not sent", extra={"reason": str(e)})
            return False
        self._told = asked
        return True

    def _message(self, *, want_desired: bool) -> fleet_pb2.Reported:
        message = fleet_pb2.Reported(
            generation=self._generation(),
            agent_version=__version__,
            stamp=self._time.stamp(),
            want_desired=want_desired,
            counter=self._next_counter(),
            profile={"architecture": platform.machine(), "python": platform.python_version()},
            metrics=dict(self._metrics()),
            outbox_id=self._outbox_id,
        )
        lines = tuple(self._lines())
        for reason_chars in REASON_CHARS:
            del message.models[:]
            message.models.extend(_model(line, reason_chars) for line in lines)
            if message.ByteSize() <= _MAX_BYTES:
                break
        return message

    def _next_counter(self) -> int:
        """max(last + 1, unix microseconds), committed before it is used."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT counter FROM reports").fetchone()
            counter = max((0 if row is None else int(row[0])) + 1, self._time.wall_us())
            connection.execute("INSERT OR REPLACE INTO reports VALUES (1, ?)", (counter,))
        return counter


def _model(line: ModelLine, reason_chars: int) -> fleet_pb2.Reported.Model:
    return fleet_pb2.Reported.Model(
        name=line.name,
        version=line.version,
        digest=line.digest,
        variant=line.variant,
        state=line.state,
        reason=line.reason[:reason_chars],
    )
