"""Capture: what was served becomes summaries, samples and outcomes in the outbox.

A request waits for two things here: its prediction id, and a place in a bounded buffer; neither
waits for a disk or for the capture thread. Counting, sampling and writing happen on that thread, of
many requests at once and in pieces: whoever answers requests needs the interpreter meanwhile. What
a kill takes with it is what was counted since the last flush; the next start says how many rows
that were.

What `observe` is given is not copied: a stack's arrays are held until they are counted, within the
buffer's bounds, which count the messages behind them too. Tensors that are neither counted nor
sampled are let go of at once, as is memory that is much larger than the view of it.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from fogline.clock import Clock, SystemClock
from fogline.desired import CapturePolicy
from fogline.errors import FoglineError, InvalidInput
from fogline.schema import Schema
from fogline.summaries import Reference, category_text
from fogline.tensors import Array
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline_edge.capture.batch import batches
from fogline_edge.capture.buffer import ObservationBuffer, next_wait_s
from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.counter import ServedCounter
from fogline_edge.capture.feedback import FeedbackLog, Item, actual_of, read_items, tag_of
from fogline_edge.capture.ledger import Ledger, event_row
from fogline_edge.capture.prediction_ids import PredictionId, PredictionIds, load_id_key
from fogline_edge.capture.track import Track
from fogline_edge.capture.tracks import Tracks
from fogline_edge.outbox import Outbox
from fogline_edge.serving.observer import Observation
from fogline_edge.serving.served import ServedModel

_log = logging.getLogger(__name__)


class Capture:
    """Implements `fogline_edge.serving.Observer`; runs from `start` to `stop`.

    Args:
        outbox: Where everything goes.
        folder: The agent's data folder; holds `served.counter` and `prediction.key`.
        config: The bounds.
        clock: Time.
        source: Of randomness, for the samples' draw.
    """

    def __init__(
        self,
        outbox: Outbox,
        folder: Path,
        *,
        config: CaptureConfig | None = None,
        clock: Clock | None = None,
        source: Random | None = None,
    ) -> None:
        self._config = config or CaptureConfig()
        self._clock = clock or SystemClock()
        self._source = source or Random()  # noqa: S311 - a sample is no secret
        self._outbox = outbox
        self._ids = PredictionIds(load_id_key(folder / "prediction.key"))
        self._counter = ServedCounter(folder / "served.counter")
        self._ledger = Ledger(outbox)
        lost = self._ledger.settle(self._counter)
        if any(lost):
            _log.warning("unclean stop", extra={"rows": lost[0], "outcomes": lost[1]})
        self._feedback = FeedbackLog(outbox, self._config)
        self._tracks = Tracks(self._ledger, self._config)
        self._buffer = ObservationBuffer(self._config, self._counter)
        self._missed_requests = self._missed_rows = 0
        self._work = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Flushes everything and ends the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        try:
            self.flush()
        except FoglineError as e:  # the next start finds the difference and says it
            _log.error("capture cannot write", extra={"reason": str(e)})
        self._counter.close()

    def set_policy(
        self,
        model: str,
        version: int,
        policy: CapturePolicy,
        reference: Reference,
        schema: Schema | None = None,
    ) -> None:
        """Says what of a version's traffic comes home; to be called before it serves.

        What was counted until now is flushed in its old windows and cells.

        Args:
            model: The model's name.
            version: Its number.
            policy: What comes home.
            reference: The cells to count in; `Reference()` counts requests and rows alone.
            schema: Without it, outcomes of predictions made before this start are stored but not
                counted until the version has answered once.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; the old policy then stands.
        """
        with self._work:
            self._drain()
            old = self._tracks.get(model, version)
            if old is not None:
                self._flush(old)
            track = Track(model, version, policy, reference, self._config)
            track.used_at = self._clock.monotonic()
            if schema is not None:
                track.reader(schema)
            self._tracks.put(track)
            self._tracks.write_names()
            self._make_room()

    def prediction_ids(
        self,
        served: ServedModel,
        rows: Sequence[int],
        event_us: Sequence[int],
        outputs: Mapping[str, Array],
    ) -> Sequence[str]:
        """See `Observer`."""
        reader = self._tracks.of(served).reader(served.schema)
        classes = reader.predictions.classes(outputs, sum(rows))
        return self._ids.make(reader.id_head, event_us, rows, classes)

    def observe(self, batch: Sequence[Observation]) -> None:
        """See `Observer`."""
        for stack in batch:
            size = self._tracks.of(stack.served).reader(stack.served.schema).trim(stack)
            if self._buffer.put(stack, size):
                self._wake.set()

    def feedback(self, request: FeedbackRequest) -> tuple[int, int]:
        """Takes the true outcomes of one prediction; they are on the disk when this returns.

        Returns:
            How many were new, and how many had been given before.

        Raises:
            InvalidInput: the id is not one of this device, or an outcome cannot be right.
            Exhausted, Corrupt, Unavailable: nothing was taken; send again later.
        """
        told = self._ids.read(request.prediction_id)
        name = self._tracks.name_of(told.model_key)
        if name is None:
            raise InvalidInput("the prediction id is of a model that this device does not know")
        self._tracks.write_names()
        items = read_items(
            request, rows=told.rows, now_us=self._outbox.time.wall_us(), config=self._config
        )
        for item in items:
            item.model, item.version, item.event_us = name, told.version, told.event_us
        is_new = self._feedback.submit([tag_of(told.mac, i.row) for i in items], items)
        fresh = [item for item, new in zip(items, is_new, strict=True) if new]
        self._count_outcomes(name, told, fresh)
        return len(fresh), len(items) - len(fresh)

    @property
    def waiting_outcomes(self) -> int:
        """Outcomes that are on the disk and not yet in the outbox."""
        return self._feedback.waiting

    def flush(self, now: float | None = None) -> None:
        """Writes all that is due at `now` (monotonic seconds) to the outbox; None means all.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; what was not written stays.
        """
        with self._work:
            self._drain()
            self._tracks.write_names()
            self._make_room()
            self._report_missed()
            for track in self._tracks:
                if now is None or (track.flush_at is not None and now >= track.flush_at):
                    self._flush(track)
            self._feedback.flush(now)

    def _run(self) -> None:
        longest_s = wait_s = self._config.drain_interval_s
        drained_at = self._clock.monotonic()
        while not self._stopping.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            now = self._clock.monotonic()
            wait_s = next_wait_s(now - drained_at, self._buffer.fill, longest_s)
            drained_at = now
            try:
                self.flush(now)
            except FoglineError as e:
                _log.error("capture cannot write", extra={"reason": str(e)})
            except Exception:  # a task boundary: serving goes on, and so does the next round
                _log.exception("capture failed")

    def _drain(self) -> None:
        """Counts what waits, in memory."""
        stacks, missed_requests, missed_rows = self._buffer.take()
        self._missed_requests += missed_requests
        self._missed_rows += missed_rows
        now = self._clock.monotonic()
        groups: dict[tuple[int, int], list[Observation]] = {}
        for stack in stacks:
            track = self._tracks.of(stack.served)
            track.touch(now)
            try:
                if stack.error is not None:
                    track.add_failures(stack)
                    self._relieve(track)
                    continue
                for window, part in track.parts(stack):
                    groups.setdefault((id(stack.served), window), []).append(part)
            except Exception:  # as in `_count`
                _log.exception("not summarised", extra={"model": stack.served.label})
                track.unsummarised += sum(stack.rows)
        del stacks  # what is counted below is let go of group by group
        for key in tuple(groups):
            self._count(groups.pop(key), now)

    def _count(self, group: Sequence[Observation], now: float) -> None:
        served = group[0].served
        track = self._tracks.of(served)
        for batch in batches(track.reader(served.schema), group):
            try:
                track.add(batch, now, self._source)
            except Exception:  # one request's odd arrays must not cost the others their counts
                _log.exception("not summarised", extra={"model": served.label})
                track.unsummarised += batch.rows
            self._relieve(track)

    def _relieve(self, track: Track) -> None:
        """Flushes a full track early."""
        if not track.is_full:
            return
        try:
            self._flush(track)
        except FoglineError as e:
            _log.error("capture cannot write, counts are lost", extra={"reason": str(e)})
            track.abandon()

    def _report_missed(self) -> None:
        if not self._missed_requests:
            return
        details = {
            "requests": str(self._missed_requests),
            "rows_not_summarised": str(self._missed_rows),
        }
        _log.warning("capture left requests out", extra=details)
        self._ledger.flush([event_row("capture_overflow", details)], self._missed_rows, 0)
        self._missed_requests = self._missed_rows = 0

    def _flush(self, track: Track) -> None:
        if track.is_empty:
            track.clear()
            return
        messages = list(track.messages())
        if track.unsummarised:
            details = {
                "model": track.model,
                "version": str(track.version),
                "rows_not_summarised": str(track.unsummarised),
            }
            messages.append(event_row("not_summarised", details))
        self._ledger.flush(messages, track.rows + track.unsummarised, track.labelled)
        track.clear()

    def _make_room(self) -> None:
        for track in self._tracks.excess():
            self._flush(track)
            self._tracks.remove(track)

    def _count_outcomes(self, name: str, told: PredictionId, items: Sequence[Item]) -> None:
        """Adds to the confusion counts, where the id carries classes and their labels are known."""
        with self._work:
            track = self._tracks.get(name, told.version)
            if track is None or not track.labels or not told.classes:
                return
            track.touch(self._clock.monotonic())
            self._counter.add_labelled(len(items))
            for item in items:
                place = told.classes[item.row]
                predicted = track.labels[place] if place < len(track.labels) else ""
                actual = category_text(actual_of(item)) or ""
                track.add_labelled(told.event_us, actual, predicted)
            self._relieve(track)
