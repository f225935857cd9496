"""Bodies of messages as columns of the lake: one function a stream.

A body that cannot be read, or says what cannot be, raises `Corrupt`, whose text is the reason that
the device and the quarantine are given. Texts name columns, never values.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from google.protobuf.message import DecodeError, Message

from fogline.errors import Corrupt, InvalidInput
from fogline.ids import check_id, check_name
from fogline.records import canonical_json
from fogline.wire.fleet_pb2 import Column, Event, Feedbacks, Samples, Scope, Summary
from fogline_hub.lake import MAX_SEQ
from fogline_hub.lake.tables import EVENTS, FEEDBACK, SUMMARIES, samples_table

MAX_NAME_CHARS = 128
MAX_TEXT_CHARS = 4096
_MIN_US, _MAX_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999."""
_EXACT = 2**53

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows for one table: equally long lists, and types of the columns beyond its schema."""

    table: str
    rows: int
    values: dict[str, list[Any]]
    types: dict[str, pa.DataType]


def rows_of(stream: str, body: bytes) -> Columns:
    """The rows of one message.

    Raises:
        Corrupt: the body cannot be read, or says what cannot be.
    """
    try:
        match stream:
            case "sample":
                return _samples(_parse(Samples, body))
            case "feedback":
                return _feedback(_parse(Feedbacks, body))
            case "summary":
                return _summary(_parse(Summary, body), body)
            case _:
                return _event(stream, _parse(Event, body))
    except InvalidInput as e:
        raise Corrupt(str(e)) from e


def _parse(kind: type[M], body: bytes) -> M:
    message = kind()
    try:
        message.ParseFromString(body)
    except (DecodeError, ValueError) as e:
        raise Corrupt(f"the body is no {kind.DESCRIPTOR.name}") from e
    return message


def _samples(message: Samples) -> Columns:
    rows = len(message.prediction_ids)
    if rows == 0:
        raise Corrupt("no rows")
    values = _scope(message.scope, rows)
    values["prediction_id"] = [check_id(i, "prediction id") for i in message.prediction_ids]
    values["row"] = _exactly(rows, list(message.row_in_request), "row_in_request")
    values["event_time"] = _exactly(rows, [_time(t) for t in message.event_us], "event_us")
    chances = _exactly(rows, list(message.inclusion_probability), "inclusion_probability")
    if not all(0.0 < p <= 1.0 for p in chances):
        raise Corrupt("inclusion_probability must be above 0 and at most 1")
    values["inclusion_probability"] = chances
    values["policy"] = [_text(message.policy, "policy")] * rows
    types: dict[str, pa.DataType] = {}
    for prefix, columns in (("in.", message.inputs), ("out.", message.outputs)):
        for column in columns:
            name = prefix + _column_name(column.name)
            if name in types:
                raise Corrupt(f"column {name} is there twice")
            types[name], values[name] = _column(column, name, rows)
    return Columns(table=samples_table(message.scope.model), rows=rows, values=values, types=types)


def _column(column: Column, name: str, rows: int) -> tuple[pa.DataType, list[Any]]:
    """Type and values of one captured column; floats of any width become float64, exactly."""
    kinds: list[tuple[pa.DataType, list[Any]]] = [
        (pa.float64(), list(column.fp32)),
        (pa.float64(), list(column.fp64)),
        (pa.int64(), list(column.int64)),
        (pa.binary(), list(column.raw)),
        (pa.bool_(), list(column.flags)),
    ]
    filled = [(kind, values) for kind, values in kinds if values]
    if len(filled) != 1:
        raise Corrupt(f"column {name} has {len(filled)} lists of values, not one")
    kind, values = filled[0]
    width = max(1, column.width)
    if len(values) != rows * width:
        raise Corrupt(f"column {name} has {len(values)} values for {rows} rows of {width}")
    if width == 1:
        return kind, values
    return pa.list_(kind), [values[i : i + width] for i in range(0, len(values), width)]


def _feedback(message: Feedbacks) -> Columns:
    if not message.items:
        raise Corrupt("no items")
    values: dict[str, list[Any]] = {
        name: []
        for name in (
            "prediction_id", "row", "model", "version",
            "event_time", "observed_at", "actual_number", "actual_text",
        )
    }  # fmt: skip
    for item in message.items:
        number, text = _actual(item)
        values["prediction_id"].append(check_id(item.prediction_id, "prediction id"))
        values["row"].append(item.row)
        values["model"].append(check_name(item.model, "model name"))
        values["version"].append(item.version)
        values["event_time"].append(_time(item.event_us))
        values["observed_at"].append(_time(item.observed_us))
        values["actual_number"].append(number)
        values["actual_text"].append(text)
    return Columns(table=FEEDBACK, rows=len(message.items), values=values, types={})


def _actual(item: Feedbacks.Item) -> tuple[float | None, str | None]:
    """An actual as a number, as a text, or both where a float would not hold all its digits."""
    match item.WhichOneof("actual"):
        case "int64_value":
            exact = abs(item.int64_value) <= _EXACT
            return float(item.int64_value), None if exact else str(item.int64_value)
        case "double_value":
            return item.double_value, None
        case "bool_value":
            return float(item.bool_value), None
        case "string_value":
            return None, _text(item.string_value, "actual")
        case _:
            raise Corrupt("an item has no actual")


def _summary(message: Summary, body: bytes) -> Columns:
    values = _scope(message.scope, 1)
    for name in ("requests", "failures", "rows"):
        values[name] = [_count(getattr(message, name), name)]
    values["body"] = [body]
    for field in (*message.inputs, *message.outputs):
        _column_name(field.name)
        if not (math.isfinite(field.sum) and math.isfinite(field.sum_squares)):
            raise Corrupt(f"column {field.name}: its moments are not finite")
    return Columns(table=SUMMARIES, rows=1, values=values, types={})


def _event(stream: str, message: Event) -> Columns:
    details = canonical_json(dict(message.details)).decode()
    values: dict[str, list[Any]] = {
        "stream": [stream],
        "kind": [_column_name(message.kind)],
        "details": [details],
    }
    return Columns(table=EVENTS, rows=1, values=values, types={})


def _scope(scope: Scope, rows: int) -> dict[str, list[Any]]:
    if scope.version < 1:
        raise Corrupt("scope: version 0")
    if scope.window_us < 0:
        raise Corrupt("scope: a window of negative length")
    return {
        "model": [check_name(scope.model, "model name")] * rows,
        "version": [scope.version] * rows,
        "variant": [_text(scope.variant, "variant")] * rows,
        "generation": [_count(scope.generation, "generation")] * rows,
        "window_start": [_time(scope.window_start_us)] * rows,
        "window_us": [scope.window_us] * rows,
    }


def _exactly(rows: int, values: list[Any], name: str) -> list[Any]:
    if len(values) != rows:
        raise Corrupt(f"{name} has {len(values)} values for {rows} rows")
    return values


def _time(unix_us: int) -> int:
    if not _MIN_US <= unix_us <= _MAX_US:
        raise Corrupt("a time outside the years 1 to 9999")
    return unix_us


def _count(value: int, name: str) -> int:
    if value > MAX_SEQ:
        raise Corrupt(f"{name} is above {MAX_SEQ}")
    return value


def _text(value: str, name: str) -> str:
    if len(value) > MAX_TEXT_CHARS:
        raise Corrupt(f"{name} has {len(value)} characters, at most {MAX_TEXT_CHARS} are kept")
    return value


def _column_name(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise Corrupt(f"the name {name[:40]!r} is not 1 to {MAX_NAME_CHARS} printable characters")
    return name
