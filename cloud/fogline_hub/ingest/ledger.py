"""Which messages are stored, which are on their way to a commit, and what an ack may say.

Pure: the lake's tables are told what is accepted by commits, this says what to do with a message.
A number is `settled` when it is stored, or when its device said (by a floor above it) that it was
dropped before it was ever stored; acks name settled numbers, so that they close up.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from fogline.wire.fleet_pb2 import Ack
from fogline_hub.ingest.received import Received
from fogline_hub.lake import Accepted, RangeSet, Source, State

MAX_ACK_RANGES = 64


class Verdict(Enum):
    NEW = "new"
    DUPLICATE = "duplicate"
    """Stored, or in the batch at hand."""
    CONFLICTING = "conflicting"
    """Its number is taken by a message with another content."""
    BEYOND = "beyond"
    """Further above its floor than a device may send."""
    TOO_MANY_OUTBOXES = "too many outboxes"


@dataclass(slots=True)
class _Pending:
    """Numbers in the batch at hand."""

    taken: RangeSet = field(default_factory=RangeSet)
    dropped: RangeSet = field(default_factory=RangeSet)


class Ledger:
    """The memory of one ingest process; rebuilt from the lake, never stored itself."""

    def __init__(self, *, max_beyond_floor: int, max_outboxes: int, max_digests: int) -> None:
        self._max_beyond_floor = max_beyond_floor
        self._max_outboxes = max_outboxes
        self._max_digests = max_digests
        self._stored = Accepted()
        self._settled = Accepted()
        self._pending: dict[Source, _Pending] = {}
        self._outboxes: dict[str, set[str]] = {}
        self._digests: OrderedDict[tuple[Source, int], int] = OrderedDict()

    def judge(self, message: Received) -> Verdict:
        """What to do with a message; changes nothing."""
        source, seq = message.source, message.seq
        if self._is_taken(source, seq):
            known = self._digests.get((source, seq), message.body_digest)
            is_same = known == message.body_digest
            return Verdict.DUPLICATE if is_same else Verdict.CONFLICTING
        if seq - message.floor >= self._max_beyond_floor:
            return Verdict.BEYOND
        outboxes = self._outboxes.get(source.device, set())
        if source.outbox_id not in outboxes and len(outboxes) >= self._max_outboxes:
            return Verdict.TOO_MANY_OUTBOXES
        return Verdict.NEW

    def take(self, message: Received) -> None:
        """Counts a new message to the batch at hand."""
        self._know(message.source)
        self._pending.setdefault(message.source, _Pending()).taken.add(message.seq)
        self._remember(message)

    def drop_below(self, source: Source, floor: int) -> list[tuple[int, int]]:
        """Ranges below a device's floor that were never seen; each is told once."""
        settled = self._settled.of(source)
        pending = self._pending.get(source)
        if settled.contiguous_to() >= floor - 1:
            return []
        if pending is not None:
            settled = RangeSet(settled)
            settled.update(pending.taken)
            settled.update(pending.dropped)
        missing = list(settled.missing_below(floor))
        if missing:
            self._know(source)
            self._pending.setdefault(source, _Pending()).dropped.update(RangeSet(missing))
        return missing

    def committed(self, state: State) -> None:
        """Moves what a commit accepted from pending to stored; also reads a table's whole state."""
        self._stored.update(state.accepted)
        for part in (state.accepted, state.dropped):
            self._settled.update(part)
            for source in part.sources():
                self._know(source)

    def end_batch(self) -> None:
        """All of the batch is committed."""
        self._pending.clear()

    def acknowledgement(self, source: Source, quarantined: dict[int, str]) -> Ack:
        """What is settled of a source, as a message to its device; `hub_time_us` is not set."""
        settled = self._settled.of(source)
        upto = settled.contiguous_to()
        beyond = [(first, last) for first, last in settled if first > upto]
        return Ack(
            outbox_id=source.outbox_id,
            stream=source.stream,
            contiguous_to=upto,
            ranges=[Ack.Range(first=a, last=b) for a, b in beyond[:MAX_ACK_RANGES]],
            quarantined=[Ack.Quarantined(seq=s, reason=r) for s, r in sorted(quarantined.items())],
        )

    def _is_taken(self, source: Source, seq: int) -> bool:
        pending = self._pending.get(source)
        return self._stored.contains(source, seq) or (pending is not None and seq in pending.taken)

    def _know(self, source: Source) -> None:
        self._outboxes.setdefault(source.device, set()).add(source.outbox_id)

    def _remember(self, message: Received) -> None:
        self._digests[message.source, message.seq] = message.body_digest
        if len(self._digests) > self._max_digests:
            self._digests.popitem(last=False)
