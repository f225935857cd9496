"""A partial: counts of one scope's traffic, which add up with other partials to the whole."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fogline.errors import Corrupt, InvalidInput
from fogline.summaries.categories import CategoryCells
from fogline.summaries.confusion import ConfusionCounts
from fogline.summaries.counts import read_count
from fogline.summaries.latency import LatencyBuckets
from fogline.summaries.numeric import NumberCells
from fogline.summaries.reference import FieldReference, Reference
from fogline.summaries.scope import Scope
from fogline.wire import fleet_pb2

Columns = Mapping[str, NDArray[np.generic]]


class FieldTable:
    """The columns of one side (inputs or outputs), numbers and categories."""

    __slots__ = ("categories", "fields", "numbers")

    def __init__(self, fields: tuple[FieldReference, ...]) -> None:
        numeric = [f for f in fields if f.kind == "number"]
        self.fields = fields
        self.numbers = NumberCells([f.name for f in numeric], [f.edges for f in numeric])
        self.categories = {
            f.name: CategoryCells(f.name, f.categories) for f in fields if f.kind == "category"
        }

    def add(self, columns: Columns) -> None:
        self.numbers.add(columns)
        for name, cells in self.categories.items():
            if name in columns:
                cells.add(columns[name])

    def merge(self, other: "FieldTable") -> "FieldTable":
        merged = FieldTable(self.fields)
        merged.numbers = self.numbers.merge(other.numbers)
        if self.categories.keys() != other.categories.keys():
            raise InvalidInput("summaries of different columns do not add up")
        merged.categories = {n: c.merge(other.categories[n]) for n, c in self.categories.items()}
        return merged

    def counts(self, name: str) -> NDArray[np.int64]:
        """Counts in the cells of column `name`, as its `FieldReference.counts`."""
        if name in self.categories:
            return self.categories[name].counts
        return self.numbers.counts(name)

    def missing(self, name: str) -> int:
        if name in self.categories:
            return self.categories[name].missing
        return self.numbers.missing_of(name)

    def to_messages(self) -> list[fleet_pb2.FieldSummary]:
        return [
            self.categories[f.name].to_message()
            if f.name in self.categories
            else self.numbers.to_message(f.name)
            for f in self.fields
        ]

    def read_messages(self, messages: Iterable[fleet_pb2.FieldSummary]) -> None:
        kinds = {f.name: f for f in self.fields}
        seen: set[str] = set()
        for message in messages:
            field = kinds.get(message.name)
            if field is None or message.name in seen:
                raise Corrupt(f"summary: column {message.name[:80]!r} unknown or there twice")
            seen.add(message.name)
            if field.kind == "number":
                self.numbers.read_message(message)
            else:
                self.categories[field.name] = CategoryCells.from_message(
                    message, field.name, field.categories
                )


class Partial:
    """Counts of one scope's traffic in the cells of a reference.

    Memory does not grow with rows: 8 bytes a cell, and 2 KiB a numeric column for the batch that
    is being counted. Not safe for use by several threads at once.

    Attributes:
        reference: The reference whose cells these are.
        scope: What was counted.
        requests: Requests answered, well or not.
        failures: Those that failed.
        rows: Rows predicted.
        first_event_us: Earliest event time, Unix microseconds; 0 when not known.
        last_event_us: Latest.
        inputs: Counts of the columns taken.
        outputs: Counts of the columns returned.
        confusion: Labelled rows.
        latency: Durations of requests.
    """

    __slots__ = (
        "confusion", "failures", "first_event_us", "inputs", "last_event_us", "latency", "outputs",
        "reference", "requests", "rows", "scope",
    )  # fmt: skip

    def __init__(self, reference: Reference, scope: Scope) -> None:
        self.reference = reference
        self.scope = scope
        self.requests = self.failures = self.rows = 0
        self.first_event_us = self.last_event_us = 0
        self.inputs = FieldTable(reference.inputs)
        self.outputs = FieldTable(reference.outputs)
        self.confusion = ConfusionCounts(reference.labels)
        self.latency = LatencyBuckets()

    def add(
        self,
        inputs: Columns,
        outputs: Columns | None = None,
        *,
        rows: int | None = None,
        requests: int = 0,
        event_us: ArrayLike = (),
        latency_us: ArrayLike = (),
    ) -> None:
        """Counts one batch; cheapest at some dozens of rows and more.

        Args:
            inputs: Column name -> values [rows]; columns that the reference lacks are left alone,
                those that are not given are not counted.
            outputs: The same for what was returned.
            rows: Rows of the batch; taken from the first column if not given.
            requests: How many requests brought them.
            event_us: Event times of rows or requests, Unix microseconds.
            latency_us: Durations, one a request, microseconds.

        Raises:
            InvalidInput: a column is no vector of its kind; nothing is promised about what of the
                batch was counted then.
        """
        produced = outputs or {}
        if rows is None:
            rows = next((len(c) for c in (*inputs.values(), *produced.values())), 0)
        self.inputs.add(inputs)
        self.outputs.add(produced)
        self.rows += rows
        self.requests += requests
        times = np.asarray(event_us, dtype=np.int64).reshape(-1)
        if times.size:
            self._stretch(int(times.min()), int(times.max()))
        durations = np.asarray(latency_us, dtype=np.float64).reshape(-1)
        if durations.size:
            self.latency.add(durations)

    def add_failures(self, requests: int) -> None:
        """Counts requests that failed; they are requests as well."""
        self.requests += requests
        self.failures += requests

    def add_labelled(self, actual: ArrayLike, predicted: ArrayLike) -> None:
        """Counts rows whose outcome came back: labels [rows] that came true, and as predicted."""
        self.confusion.add(
            np.asarray(actual).reshape(-1),
            np.asarray(predicted).reshape(-1),
        )

    def merge(self, other: "Partial") -> "Partial":
        """The partial of both; neither is changed. Associative and commutative.

        Raises:
            InvalidInput: another model or version, or counts in other cells.
        """
        merged = Partial(self.reference, self.scope.join(other.scope))
        merged.requests = self.requests + other.requests
        merged.failures = self.failures + other.failures
        merged.rows = self.rows + other.rows
        for part in (self, other):
            if part.last_event_us:
                merged._stretch(part.first_event_us, part.last_event_us)
        merged.inputs = self.inputs.merge(other.inputs)
        merged.outputs = self.outputs.merge(other.outputs)
        merged.confusion = self.confusion.merge(other.confusion)
        merged.latency = self.latency.merge(other.latency)
        return merged

    @property
    def is_empty(self) -> bool:
        return not (self.requests or self.rows or self.confusion.rows) and (
            self.confusion.unlabelled_values == 0
        )

    def _stretch(self, first_us: int, last_us: int) -> None:
        known = self.last_event_us != 0
        self.first_event_us = min(self.first_event_us, first_us) if known else first_us
        self.last_event_us = max(self.last_event_us, last_us) if known else last_us

    def to_message(self) -> fleet_pb2.Summary:
        """The message; its deterministic serialization is equal for equal counts."""
        return fleet_pb2.Summary(
            scope=self.scope.to_message(),
            requests=self.requests,
            failures=self.failures,
            rows=self.rows,
            first_event_us=self.first_event_us,
            last_event_us=self.last_event_us,
            inputs=self.inputs.to_messages(),
            outputs=self.outputs.to_messages(),
            confusion=self.confusion.to_message(),
            latency=self.latency.to_message(),
        )

    @staticmethod
    def from_message(message: fleet_pb2.Summary, reference: Reference) -> "Partial":
        """Reads what a device sent, against the reference of the version that it names.

        Raises:
            Corrupt: columns, cells or labels that are not the reference's, or impossible counts.
        """
        partial = Partial(reference, Scope.from_message(message.scope))
        partial.requests = read_count(message.requests, "summary requests")
        partial.failures = read_count(message.failures, "summary failures")
        partial.rows = read_count(message.rows, "summary rows")
        if message.first_event_us > message.last_event_us:
            raise Corrupt("summary: its first event is after its last one")
        partial.first_event_us = message.first_event_us
        partial.last_event_us = message.last_event_us
        partial.inputs.read_messages(message.inputs)
        partial.outputs.read_messages(message.outputs)
        partial.confusion = ConfusionCounts.from_message(message.confusion, reference.labels)
        partial.latency = LatencyBuckets.from_message(message.latency)
        return partial
