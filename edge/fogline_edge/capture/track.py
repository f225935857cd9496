"""What is known of one model version's traffic since the last flush: partials and sampled rows.

Not safe for use by several threads; the capture thread owns it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

import numpy as np

from fogline.desired import CapturePolicy
from fogline.errors import InvalidInput
from fogline.schema import Schema
from fogline.summaries import Partial, Reference, Scope
from fogline.wire import fleet_pb2
from fogline_edge.capture.batch import Batch, by_window
from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.reader import Reader
from fogline_edge.capture.samples import SampleBlock, joined, pick, to_messages
from fogline_edge.capture.sampling import HourlyBudget, draw, wanted_probabilities
from fogline_edge.serving.observer import Observation
from fogline_edge.serving.served import ServedModel

UNSAMPLED = CapturePolicy(sample_rate=0.0)
"""Of a version for which no policy is set: it is counted, and nothing of it leaves the device."""


class Track:
    """Traffic of `model`, version `version`.

    Attributes:
        used_at: When it was last served or told of an outcome, monotonic seconds.
        flush_at: When to flush, monotonic seconds; None while there is nothing to.
        rows: Rows in the partials, which have not been flushed.
        labelled: Outcomes in them.
        unsummarised: Rows that could not be counted since the last flush.
        sample_bytes: About what the sampled rows take.
    """

    def __init__(
        self,
        model: str,
        version: int,
        policy: CapturePolicy,
        reference: Reference,
        config: CaptureConfig,
    ) -> None:
        self.model = model
        self.version = version
        self.policy = policy
        self.reference = reference
        self.budget = HourlyBudget(policy.max_rows_per_hour)
        self.used_at = 0.0
        self.flush_at: float | None = None
        self.rows = self.labelled = self.unsummarised = self.sample_bytes = 0
        self._config = config
        self._window_us = policy.window_s * 1_000_000
        self._reader: Reader | None = None
        self._partials: dict[Scope, Partial] = {}
        self._blocks: dict[Scope, list[SampleBlock]] = {}

    @property
    def is_full(self) -> bool:
        return (
            len(self._partials) > self._config.max_scopes
            or self.sample_bytes > self._config.max_sample_bytes
        )

    @property
    def is_empty(self) -> bool:
        return not self._partials and not self.unsummarised

    def reader(self, schema: Schema) -> Reader:
        """How to read what this version takes and gives. Safe from any thread."""
        reader = self._reader
        if reader is None or reader.schema is not schema:
            reader = self._reader = Reader(
                self.model,
                self.version,
                schema,
                self.reference,
                samples=self.policy.sample_rate > 0,
                max_width=self._config.max_row_width,
            )
        return reader

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that prediction ids carry places among; empty while no schema was seen."""
        return () if self._reader is None else self._reader.predictions.labels

    def touch(self, now: float) -> None:
        """Sets when to flush, counting from the first that came after the last flush."""
        self.used_at = now
        if self.flush_at is None:
            self.flush_at = now + self.policy.flush_interval_s

    def window_of(self, event_us: int) -> int:
        """Start of the window that an event time falls in, Unix microseconds."""
        return event_us // self._window_us * self._window_us

    def parts(self, stack: Observation) -> Iterable[tuple[int, Observation]]:
        """A stack as (window, its requests of it); most are of one, and then it is whole."""
        event_us = stack.event_us
        window = self.window_of(event_us[0])
        if len(event_us) == 1 or (
            window <= min(event_us) and max(event_us) < window + self._window_us
        ):
            return ((window, stack),)
        return by_window(stack, self.window_of)

    def add(self, batch: Batch, now: float, source: Random) -> None:
        """Counts and samples requests.

        Args:
            batch: Of one variant and window, and uniform.
            now: Monotonic seconds.
            source: Of randomness, for the draw.
        """
        first_us, last_us = batch.event_us()
        scope = self._scope(batch.stacks[0].served, first_us)
        try:
            self._partial(scope).add(
                batch.columns("inputs"),
                batch.columns("outputs"),
                rows=batch.rows,
                requests=batch.requests,
                event_us=(first_us, last_us),
                latency_us=batch.latency_us(),
            )
            self.rows += batch.rows
        except InvalidInput:
            self.unsummarised += batch.rows
        if self.policy.sample_rate > 0 and batch.rows:
            self._sample(batch, scope, now, source)

    def _sample(self, batch: Batch, scope: Scope, now: float, source: Random) -> None:
        reader = batch.reader
        margins = None
        name = reader.predictions.probabilities
        if self.policy.strategy == "uncertain" and name:
            table = batch.tensor("outputs", name)
            if table is not None:
                margins = reader.predictions.margins({name: table}, batch.rows)
        wanted = wanted_probabilities(self.policy, batch.rows, margins)
        probability = self.budget.spend(wanted, now)
        rows = draw(probability, source)
        if not len(rows):
            return
        blocks = pick(
            batch,
            rows,
            probability[rows],
            policy=self.policy.strategy,
            max_text_bytes=self._config.max_text_bytes,
        )
        for block in blocks:
            self._blocks.setdefault(scope, []).append(block)
            self.sample_bytes += block.size_bytes

    def add_failures(self, stack: Observation) -> None:
        """Counts requests that failed."""
        windows = Counter(map(self.window_of, stack.event_us))
        for window, requests in windows.items():
            self._partial(self._scope(stack.served, window)).add_failures(requests)

    def add_labelled(self, event_us: int, actual: str, predicted: str) -> None:
        """Counts an outcome in the window of its prediction's event time."""
        scope = Scope(
            model=self.model,
            version=self.version,
            window_start_us=self.window_of(event_us),
            window_us=self._window_us,
        )
        self._partial(scope).add_labelled(np.array([actual]), np.array([predicted]))
        self.labelled += 1

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """Outbox rows (stream, body) of all that has come together; changes nothing."""
        max_bytes = self._config.max_message_bytes
        for partial in self._partials.values():
            if not partial.is_empty:
                for message in split_summary(partial.to_message(), max_bytes):
                    yield "summary", message.SerializeToString(deterministic=True)
        for scope, blocks in self._blocks.items():
            for block in joined(blocks):
                for body in to_messages(scope, block, max_bytes):
                    yield "sample", body

    def clear(self) -> None:
        """What `messages` gave is safe elsewhere."""
        self._partials.clear()
        self._blocks.clear()
        self.flush_at = None
        self.rows = self.labelled = self.unsummarised = self.sample_bytes = 0

    def abandon(self) -> None:
        """Lets go of all of it, because the outbox does not take it and memory is bounded."""
        self._partials.clear()
        self._blocks.clear()
        self.unsummarised += self.rows
        self.rows = self.sample_bytes = 0

    def _scope(self, served: ServedModel, event_us: int) -> Scope:
        return Scope(
            model=self.model,
            version=self.version,
            variant=served.variant,
            generation=served.generation,
            window_start_us=self.window_of(event_us),
            window_us=self._window_us,
        )

    def _partial(self, scope: Scope) -> Partial:
        partial = self._partials.get(scope)
        if partial is None:
            partial = self._partials[scope] = Partial(self.reference, scope)
        return partial


def split_summary(message: fleet_pb2.Summary, max_bytes: int) -> Iterable[fleet_pb2.Summary]:
    """The message, or several that add up to it where it is longer than `max_bytes`."""
    if message.ByteSize() <= max_bytes:
        return [message]
    head = fleet_pb2.Summary()
    head.CopyFrom(message)
    head.ClearField("inputs")
    head.ClearField("outputs")
    parts = [head]
    for side in ("inputs", "outputs"):
        for field in getattr(message, side):
            # A field's key and length take at most six bytes beside its own.
            if parts[-1].ByteSize() + field.ByteSize() + 6 > max_bytes:
                parts.append(fleet_pb2.Summary(scope=message.scope))
            getattr(parts[-1], side).append(field)
    return parts
