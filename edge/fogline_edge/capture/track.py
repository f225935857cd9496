"""What is known of one model version's traffic since the last flush: partials and sampled rows.

Not safe for use by several threads; the capture thread owns it.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fogline.desired import CapturePolicy
from fogline.errors import InvalidInput
from fogline.schema import Schema
from fogline.summaries import Partial, Reference, Scope
from fogline.wire import fleet_pb2
from fogline_edge.capture.batch import Batch
from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.prediction_ids import model_key
from fogline_edge.capture.predictions import Predictions
from fogline_edge.capture.samples import SampleBlock, joined, pick, to_messages
from fogline_edge.capture.sampling import HourlyBudget, draw, wanted_probabilities
from fogline_edge.serving.models import ServedModel
from fogline_edge.serving.observer import Observation

UNSAMPLED = CapturePolicy(sample_rate=0.0)
"""Of a version for which no policy is set: it is counted, and nothing of it leaves the device."""


class Track:
    """Traffic of `model`, version `version`.

    Attributes:
        key: The model's, see `model_key`.
        flush_at: When to flush, monotonic seconds; None while there is nothing to.
        rows: Rows in the partials, which have not been flushed.
        labelled: Outcomes in them.
        unsummarised: Rows that could not be counted since the last flush.
        sample_bytes: About what the sampled rows take.
    """

    def __init__(
        self, model: str, version: int, policy: CapturePolicy, reference: Reference
    ) -> None:
        self.model = model
        self.version = version
        self.policy = policy
        self.reference = reference
        self.key = model_key(model)
        self._predictions: Predictions | None = None
        self.budget = HourlyBudget(policy.max_rows_per_hour)
        self.flush_at: float | None = None
        self.rows = self.labelled = self.unsummarised = self.sample_bytes = 0
        self._partials: dict[Scope, Partial] = {}
        self._blocks: dict[Scope, list[SampleBlock]] = {}

    def is_full(self, config: CaptureConfig) -> bool:
        return (
            len(self._partials) > config.max_scopes or self.sample_bytes > config.max_sample_bytes
        )

    @property
    def is_empty(self) -> bool:
        return not self._partials and not self.unsummarised

    def predictions(self, schema: Schema) -> Predictions:
        """How to read what this version predicts; the same for its whole life."""
        if self._predictions is None:
            self._predictions = Predictions(schema, self.reference)
        return self._predictions

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that prediction ids carry places among; empty while no schema was seen."""
        return () if self._predictions is None else self._predictions.labels

    def touch(self, now: float) -> None:
        """Sets when to flush, counting from the first that came after the last flush."""
        if self.flush_at is None:
            self.flush_at = now + self.policy.flush_interval_s

    def window_of(self, event_us: int) -> int:
        """Start of the window that an event time falls in, Unix microseconds."""
        width = self.policy.window_s * 1_000_000
        return event_us // width * width

    def add(
        self,
        observations: Sequence[Observation],
        now: float,
        generator: np.random.Generator,
        config: CaptureConfig,
    ) -> None:
        """Counts and samples requests of one window that all gave the same outputs.

        Args:
            observations: At least one, none failed, each one within the window.
            now: Monotonic seconds.
            generator: For the draw.
            config: The bounds.
        """
        batch = Batch(observations)
        scope = self._scope(observations[0].served, observations[0].event_us[0])
        partial = self._partial(scope)
        try:
            partial.add(
                batch.columns("inputs"),
                batch.columns("outputs"),
                rows=batch.rows,
                requests=len(batch.counts),
                event_us=batch.event_us,
                latency_us=[t for o in observations for t in o.latency_us],
            )
            self.rows += batch.rows
        except InvalidInput:
            self.unsummarised += batch.rows
        if self.policy.sample_rate > 0 and batch.rows:
            self._sample(batch, scope, now, generator, config)

    def _sample(
        self,
        batch: Batch,
        scope: Scope,
        now: float,
        generator: np.random.Generator,
        config: CaptureConfig,
    ) -> None:
        margins = None
        if self.policy.strategy == "uncertain":
            schema = batch.observations[0].served.schema
            margins = self.predictions(schema).margins(batch.tensors("outputs"), batch.rows)
        wanted = wanted_probabilities(self.policy, batch.rows, margins)
        probability = self.budget.spend(wanted, now)
        rows = draw(probability, generator)
        if not len(rows):
            return
        block = pick(batch, rows, probability[rows], self.policy.strategy, config)
        if block.rows:
            self._blocks.setdefault(scope, []).append(block)
            self.sample_bytes += block.size_bytes

    def add_failures(self, observation: Observation) -> None:
        """Counts requests that failed."""
        for event_us in observation.event_us:
            self._partial(self._scope(observation.served, event_us)).add_failures(1)

    def add_labelled(self, event_us: int, actual: str, predicted: str) -> None:
        """Counts an outcome in the window of its prediction's event time."""
        scope = Scope(
            model=self.model,
            version=self.version,
            window_start_us=self.window_of(event_us),
            window_us=self.policy.window_s * 1_000_000,
        )
        self._partial(scope).add_labelled(np.array([actual]), np.array([predicted]))
        self.labelled += 1

    def messages(self, config: CaptureConfig) -> Iterator[tuple[str, bytes]]:
        """Outbox rows (stream, body) of all that has come together; changes nothing."""
        for partial in self._partials.values():
            if not partial.is_empty:
                for message in split_summary(partial.to_message(), config.max_message_bytes):
                    yield "summary", message.SerializeToString(deterministic=True)
        for scope, blocks in self._blocks.items():
            for block in joined(blocks):
                for body in to_messages(scope, block, config.max_message_bytes):
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
            window_us=self.policy.window_s * 1_000_000,
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
