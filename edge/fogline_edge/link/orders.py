"""The desired state as this device holds it: authenticated, never older than before, on the disk.

A message is taken only if its code was made with the device's down key, its counter is above the
last one taken, and it has not expired (where the clock can tell). A document is taken only if its
digest is the one named and its generation is not below the one held. What is taken is committed
before anyone acts on it, so a restart goes on with the same orders and no network.
"""

import logging
from datetime import timedelta
from hashlib import sha256

from google.protobuf.message import DecodeError

from fogline import topics
from fogline.desired import DesiredState
from fogline.errors import Conflict, Corrupt, Unsupported, Untrusted
from fogline.records import decode_json
from fogline.wire.auth import unseal
from fogline.wire.fleet_pb2 import Desired, Signed
from fogline_edge.link.publisher import DeviceKeys
from fogline_edge.outbox import Database, DeviceTime

MAX_AHEAD = timedelta(days=1)
"""A generation is unix seconds or more; one further ahead of the hub's time is refused, because it
would shut out every honest one for that long."""

_STEPS = (
    """CREATE TABLE orders (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        counter INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        document BLOB NOT NULL
    )""",
)


_MAX_STORED = 2**63 - 1

_log = logging.getLogger(__name__)


class Orders:
    """The newest desired state. Safe for use by several threads."""

    def __init__(self, database: Database, keys: DeviceKeys, time: DeviceTime) -> None:
        database.migrate("orders", _STEPS)
        self._database = database
        self._keys = keys
        self._topic = topics.down(keys.device, "desired")
        self._time = time
        with database.reading() as connection:
            row = connection.execute("SELECT counter, generation, document FROM orders").fetchone()
        self._counter, self._oldest = (0, 0) if row is None else (int(row[0]), int(row[1]))
        self._current = None if row is None else _stored(bytes(row[2]))

    def current(self) -> DesiredState | None:
        """What this device should run; None before the first order."""
        return self._current

    @property
    def generation(self) -> int:
        """Of the current document; 0 before the first."""
        return 0 if self._current is None else self._current.generation

    def take(self, payload: bytes) -> bool:
        """Takes one received message; returns whether it changed what is desired.

        Raises:
            Untrusted: forged, replayed, expired, or too far in the future.
            Corrupt: not a desired state.
            Conflict: an older generation than the one held, or other content for the same.
            Unsupported: the document is to be fetched from a URL.
            Exhausted, Unavailable: it cannot be stored.
        """
        key = self._keys.down_key
        signed = unseal(Signed, payload, key=key, direction="down", topic=self._topic)
        if signed.counter > _MAX_STORED:
            raise Corrupt(f"a desired state with counter {signed.counter}")
        if signed.counter <= self._counter:
            raise Untrusted(f"a desired state that was sent before (counter {signed.counter})")
        if self._time.is_confirmed and signed.expires_us < self._time.wall_us():
            raise Untrusted("a desired state that has expired")
        document, state = self._read(signed.body)
        held = self._current
        if state.generation < self._oldest:
            raise Conflict(
                f"desired state of generation {state.generation}, this device holds {self._oldest}"
            )
        if held is not None and state.generation == held.generation and state != held:
            raise Conflict(f"two desired states of generation {state.generation}")
        self._store(signed.counter, state, document)
        return state != held

    def _read(self, body: bytes) -> tuple[bytes, DesiredState]:
        try:
            message = Desired.FromString(body)
        except (DecodeError, ValueError) as e:
            raise Corrupt(f"not a desired state: {e}") from e
        if message.WhichOneof("where") == "url":
            raise Unsupported("a desired state by URL is not fetched by this agent")
        if sha256(message.document).hexdigest() != message.digest:
            raise Untrusted("a desired state whose digest does not match")
        state = _document(message.document)
        if state.generation > _MAX_STORED:
            raise Corrupt(f"a desired state of generation {state.generation}")
        if state.generation != message.generation:
            raise Corrupt("a desired state that is not of the generation named with it")
        if self._time.is_confirmed:
            latest = self._time.wall_us() // 1_000_000 + int(MAX_AHEAD.total_seconds())
            if state.generation > latest:
                raise Untrusted(f"generation {state.generation} lies in the future")
        return message.document, state

    def _store(self, counter: int, state: DesiredState, document: bytes) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO orders VALUES (1, ?, ?, ?)",
                (counter, state.generation, document),
            )
        self._counter = counter
        self._oldest = state.generation
        self._current = state


def _stored(data: bytes) -> DesiredState | None:
    """None for what this build cannot read: the hub sends it again, in words that it can."""
    try:
        return _document(data)
    except Corrupt as e:
        _log.error("stored desired state cannot be read", extra={"reason": str(e)})
        return None


def _document(data: bytes) -> DesiredState:
    return decode_json(data, DesiredState, "desired state")
