"""The one way of a message into the lake: authenticate, deduplicate, gather, commit, acknowledge.

One thread; knows neither MQTT nor the signer's socket. What must hold after any crash: a message is
in the lake once or not at all, and an ack names only what a commit holds.
"""

import logging
import math
from dataclasses import dataclass

from fogline.clock import Clock
from fogline.errors import Corrupt, Exhausted, Unavailable, Untrusted
from fogline.failpoints import reach
from fogline.wire.fleet_pb2 import Ack
from fogline_hub.ingest.batch import Batch
from fogline_hub.ingest.counts import Tally
from fogline_hub.ingest.ledger import Ledger, Verdict
from fogline_hub.ingest.received import KeyRing, Received, read_message
from fogline_hub.ingest.reports import contradicted, dropped_by_device, set_aside
from fogline_hub.ingest.rows import Columns, rows_of
from fogline_hub.ingest.settings import IngestConfig
from fogline_hub.ingest.shelf import Shelf
from fogline_hub.lake import Source
from fogline_hub.lake.tables import QUARANTINE

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DueAck:
    """What a device is to be told."""

    device: str
    ack: Ack


class Intake:
    """Takes published messages; `commit` puts them into the lake, `due_acks` says so.

    Args:
        shelf: The tables; `open` takes them over.
        keys: Gives the key of a device.
        config: Bounds.
        clock: Stamps what is received.
        tally: Counts what happens.
    """

    def __init__(
        self, shelf: Shelf, keys: KeyRing, config: IngestConfig, clock: Clock, tally: Tally
    ) -> None:
        self._shelf = shelf
        self._keys = keys
        self._config = config
        self._clock = clock
        self._tally = tally
        self._ledger = self._new_ledger()
        self._batches: dict[str, Batch] = {}
        self._touched: set[Source] = set()
        self._reasons: dict[Source, dict[int, str]] = {}
        self._set_aside = 0
        self._bytes = 0
        self._oldest: float | None = None
        self._last_commit = -math.inf

    def open(self) -> None:
        """Takes all tables over and forgets what was not committed; also after a failed commit.

        Raises:
            Conflict, Corrupt, Unavailable: as `Shelf.open_all`.
        """
        self._batches.clear()
        self._forget_batch()
        self._ledger = self._new_ledger()
        self._ledger.committed(self._shelf.open_all())

    def handle(self, topic: str, payload: bytes) -> None:
        """Takes one published message.

        Raises:
            Conflict, Corrupt, Unavailable: a table that it is the first for cannot be opened.
        """
        try:
            message = read_message(topic, payload, self._keys, self._clock.now())
        except Untrusted as e:
            self._tally.add("unauthenticated")
            _log.warning("unauthenticated message", extra={"error": str(e)})
            return
        except Corrupt as e:
            self._tally.add("malformed")
            _log.warning("malformed message", extra={"error": str(e)})
            return
        except Unavailable as e:  # no key now; the device sends it again
            self._tally.add("refused")
            _log.warning("message without a key", extra={"error": str(e)})
            return
        reach("ingest.received")
        self._take(message)

    def wait_s(self) -> float | None:
        """Seconds until a commit is due; None while there is nothing to commit or acknowledge."""
        if self._oldest is None:
            return None
        rows = sum(batch.rows for batch in self._batches.values())
        if rows >= self._config.batch_rows or self._bytes >= self._config.batch_bytes:
            return 0.0
        due = max(
            self._last_commit + self._config.commit_interval_s,
            self._oldest + self._config.linger_s,
        )
        return max(0.0, due - self._clock.monotonic())

    def commit(self) -> None:
        """One commit a table, of all that was taken.

        Raises:
            Conflict: another process has taken a table over; this one must end.
            Unavailable: `open` must be called before anything else; what was not committed is
                forgotten there, and the devices send it again.
        """
        for table, batch in self._batches.items():
            rows = batch.table()
            reach("ingest.before_commit")
            self._shelf.append(table, rows, batch.added)
            reach("ingest.after_commit")
            self._ledger.committed(batch.added)
            self._tally.add("commits")
            self._tally.add("rows", batch.rows)
        self._batches.clear()
        self._ledger.end_batch()
        self._set_aside = self._bytes = 0
        self._oldest = None
        self._last_commit = self._clock.monotonic()

    def due_acks(self) -> list[DueAck]:
        """What to tell the devices heard of since the last call; call it after `commit`."""
        acks = []
        for source in self._touched:
            ack = self._ledger.acknowledgement(source, self._reasons.get(source, {}))
            if ack.contiguous_to or ack.ranges:
                ack.hub_time_us = int(self._clock.now().timestamp() * 1_000_000)
                acks.append(DueAck(source.device, ack))
        self._touched.clear()
        self._reasons.clear()
        return acks

    def _take(self, message: Received) -> None:
        verdict = self._ledger.judge(message)
        if verdict in (Verdict.BEYOND, Verdict.TOO_MANY_OUTBOXES):
            self._tally.add("refused")
            _log.warning("message refused", extra={"reason": verdict.value, **_place(message)})
            return
        if self._oldest is None:
            self._oldest = self._clock.monotonic()
        self._touched.add(message.source)
        if verdict is Verdict.DUPLICATE:
            self._tally.add("duplicates")
        elif verdict is Verdict.CONFLICTING:
            self._contradict(message)
        else:
            self._accept(message)
        self._note_drops(message)

    def _accept(self, message: Received) -> None:
        try:
            columns = rows_of(message.source.stream, message.body)
            self._shelf.check_room(columns.table)
        except (Corrupt, Exhausted) as e:
            self._quarantine(message, str(e))
            return
        if not self._shelf.has(columns.table):
            self._ledger.committed(self._shelf.open(columns.table))
        if self._ledger.judge(message) is not Verdict.NEW:  # stored by the worker before us
            self._tally.add("duplicates")
            return
        try:
            self._put(message, columns)
        except Corrupt as e:
            self._quarantine(message, str(e))
            return
        self._batches[columns.table].added.accepted.add(message.source, message.seq)
        self._ledger.take(message)
        self._tally.add("messages")

    def _quarantine(self, message: Received, reason: str) -> None:
        if not self._put_aside(message, reason):
            return
        self._batches[QUARANTINE].added.accepted.add(message.source, message.seq)
        self._ledger.take(message)
        self._reasons.setdefault(message.source, {})[message.seq] = reason[:200]

    def _contradict(self, message: Received) -> None:
        reason = "this number is taken by a message with another content"
        if self._put_aside(message, reason):
            self._put(message, contradicted(message))
            self._tally.add("conflicts")
            self._reasons.setdefault(message.source, {})[message.seq] = reason

    def _put_aside(self, message: Received, reason: str) -> bool:
        """Adds a row of quarantine; False when the batch holds no more of them."""
        if self._set_aside >= self._config.max_quarantined_per_commit:
            self._tally.add("refused")
            return False
        self._set_aside += 1
        self._put(message, set_aside(message, reason))
        self._tally.add("quarantined")
        _log.warning("message set aside", extra={"reason": reason, **_place(message)})
        return True

    def _note_drops(self, message: Received) -> None:
        ranges = self._ledger.drop_below(message.source, message.floor)
        if not ranges:
            return
        columns = dropped_by_device(message, ranges)
        self._put(message, columns)
        for first, last in ranges:
            self._batches[columns.table].added.dropped.add(message.source, first, last)
            self._tally.add("dropped_by_devices", last - first + 1)

    def _put(self, message: Received, columns: Columns) -> None:
        batch = self._batches.get(columns.table)
        if batch is None:
            schema = self._shelf.schema(columns.table)
            batch = Batch(schema, max_columns=self._config.max_columns)
        batch.add(message, columns)
        self._batches[columns.table] = batch
        self._bytes += len(message.body)

    def _forget_batch(self) -> None:
        self._reasons.clear()
        self._set_aside = self._bytes = 0
        self._oldest = None

    def _new_ledger(self) -> Ledger:
        return Ledger(
            max_beyond_floor=self._config.max_beyond_floor,
            max_outboxes=self._config.max_outboxes_per_device,
            max_digests=self._config.remembered_digests,
        )


def _place(message: Received) -> dict[str, object]:
    return {**message.source._asdict(), "seq": message.seq}
