"""Outcomes of predictions: each counts once, and is on the disk when the call is answered.

Whoever comes while a commit is being flushed waits for the next one, which takes all that wait: one
caller alone is answered after one flush of the disk, a hundred at once share one.

Outcomes come one by one and would each be a message of their own, ten times as long as what it
says. So they are committed to a table beside the outbox's, in the same file, and moved into the
outbox together, in one commit: durable from the answer on, and few messages.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fogline.errors import Exhausted, FoglineError, InvalidInput
from fogline.wire import fleet_pb2
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline_edge.capture.config import CaptureConfig
from fogline_edge.outbox import Outbox

_TABLES = (
    "CREATE TABLE feedback_seen (n INTEGER PRIMARY KEY, tag BLOB NOT NULL UNIQUE) STRICT",
    "CREATE TABLE feedback_taken (n INTEGER PRIMARY KEY, item BLOB NOT NULL) STRICT",
)

Item = fleet_pb2.Feedbacks.Item


@dataclass(slots=True)
class _Ticket:
    """One call's outcomes, and what became of them."""

    tags: Sequence[bytes]
    items: Sequence[Item]
    is_new: list[bool] = field(default_factory=list)
    error: FoglineError | None = None
    is_done: bool = False


class FeedbackLog:
    """Commits outcomes and remembers which there were. Safe for use by several threads."""

    def __init__(self, outbox: Outbox, config: CaptureConfig) -> None:
        self._outbox = outbox
        self._config = config
        self._waiting: list[_Ticket] = []
        self._waiting_rows = 0
        self._queue = threading.Lock()
        self._committing = threading.Lock()
        outbox.database.migrate("feedback", _TABLES)
        with outbox.database.reading() as connection:
            counted = connection.execute("SELECT count(*) FROM feedback_taken").fetchone()
        self.waiting = int(counted[0])
        """Outcomes that are on the disk and not yet in the outbox."""
        self._due_at: float | None = 0.0 if self.waiting else None

    def flush(self, now: float | None = None) -> None:
        """Moves what waits into the outbox, if the oldest has waited long enough at `now`.

        Args:
            now: Monotonic seconds; None moves whatever there is.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; what waited still does.
        """
        if not self.waiting:
            return
        if self._due_at is None and now is not None:
            self._due_at = now + self._config.feedback_interval_s
        is_due = now is None or (self._due_at is not None and now >= self._due_at)
        if not is_due and self.waiting < self._config.max_feedback_rows:
            return
        with self._committing:
            with self._outbox.transaction() as connection:
                taken = connection.execute("SELECT item FROM feedback_taken ORDER BY n").fetchall()
                items = [Item.FromString(row[0]) for row in taken]
                bodies = feedback_bodies(items, self._config.max_message_bytes)
                self._outbox.append([("feedback", body) for body in bodies])
                connection.execute("DELETE FROM feedback_taken")
            self.waiting = 0
            self._due_at = None

    def submit(self, tags: Sequence[bytes], items: Sequence[Item]) -> list[bool]:
        """Commits outcomes, and returns which of them had not been given before.

        Args:
            tags: What makes each outcome the same one, see `tag_of`.
            items: The outcomes.

        Raises:
            Exhausted: too many wait already, or the disk is full; nothing was taken.
            Corrupt, Unavailable: the outbox failed; nothing was taken.
        """
        ticket = _Ticket(tags, items)
        with self._queue:
            if self._waiting_rows + len(items) > self._config.max_feedback_rows:
                raise Exhausted(
                    f"{self._waiting_rows} outcomes wait for the disk, at most "
                    f"{self._config.max_feedback_rows}; send again later"
                )
            self._waiting.append(ticket)
            self._waiting_rows += len(items)
        with self._committing:
            if not ticket.is_done:
                self._commit()
        if ticket.error is not None:
            raise ticket.error
        return ticket.is_new

    def _commit(self) -> None:
        with self._queue:
            tickets, self._waiting, self._waiting_rows = self._waiting, [], 0
        try:
            with self._outbox.transaction() as connection:
                fresh: list[Item] = []
                for ticket in tickets:
                    for tag, item in zip(ticket.tags, ticket.items, strict=True):
                        added = connection.execute(
                            "INSERT OR IGNORE INTO feedback_seen (tag) VALUES (?)", (tag,)
                        )
                        ticket.is_new.append(added.rowcount == 1)
                        if added.rowcount == 1:
                            fresh.append(item)
                connection.execute(
                    "DELETE FROM feedback_seen WHERE n <= (SELECT max(n) FROM feedback_seen) - ?",
                    (self._config.feedback_memory_rows,),
                )
                connection.executemany(
                    "INSERT INTO feedback_taken (item) VALUES (?)",
                    [(item.SerializeToString(deterministic=True),) for item in fresh],
                )
            self.waiting += len(fresh)
        except FoglineError as e:
            for ticket in tickets:
                ticket.error = e
        finally:
            for ticket in tickets:
                ticket.is_done = True


def tag_of(mac: bytes, row: int) -> bytes:
    """What makes an outcome the same one: the id's code, which is unique to it, and the row."""
    return mac + row.to_bytes(4, "big")


def read_items(
    request: FeedbackRequest, *, rows: int, now_us: int, config: CaptureConfig
) -> list[Item]:
    """Checks a request and gives its outcomes, without what only the prediction id knows.

    Args:
        request: The call.
        rows: How many rows the prediction had.
        now_us: Taken for a missing time of observation, Unix microseconds.
        config: The bounds.

    Raises:
        InvalidInput: none or too many outcomes, a row that was not predicted, or an outcome
            without a value or with one that is too long.
    """
    if not 1 <= len(request.actuals) <= config.max_feedback_rows:
        raise InvalidInput(
            f"feedback: {len(request.actuals)} actuals; send 1 to {config.max_feedback_rows}"
        )
    if request.observed_at_us < 0:
        raise InvalidInput("feedback: observed_at_us is negative")
    items = []
    for actual in request.actuals:
        if actual.row >= rows:
            raise InvalidInput(
                f"feedback: actual of row {actual.row}; the prediction has {rows} rows, from 0 on"
            )
        item = Item(
            prediction_id=request.prediction_id,
            row=actual.row,
            observed_us=request.observed_at_us or now_us,
        )
        kind = actual.WhichOneof("value")
        if kind is None:
            raise InvalidInput(f"feedback: the actual of row {actual.row} has no value")
        value = getattr(actual, kind)
        if kind == "string_value" and len(value.encode()) > config.max_text_bytes:
            raise InvalidInput(
                f"feedback: the actual of row {actual.row} is longer than "
                f"{config.max_text_bytes} bytes"
            )
        setattr(item, kind, value)
        items.append(item)
    return items


def actual_of(item: Item) -> object:
    """The outcome's value."""
    kind = item.WhichOneof("actual")
    return None if kind is None else getattr(item, kind)


def feedback_bodies(items: Sequence[Item], max_bytes: int) -> Iterator[bytes]:
    """Serialized `Feedbacks`, none longer than `max_bytes`."""
    message, size = fleet_pb2.Feedbacks(), 0
    for item in items:
        cost = item.ByteSize() + 4
        if message.items and size + cost > max_bytes:
            yield message.SerializeToString(deterministic=True)
            message, size = fleet_pb2.Feedbacks(), 0
        message.items.append(item)
        size += cost
    if message.items:
        yield message.SerializeToString(deterministic=True)
