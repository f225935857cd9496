"""Bodies of messages as columns of the lake: one function a stream.

A body that cannot be read, or says what cannot be, raises `Corrupt`, whose text is the reason that
the device and the quarantine are given. Texts name columns, never values.
"""

import math
import re
from dataclasses import dataclass, field
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
_IDS = re.compile(r"(?:[A-Za-z0-9_-]{1,64}\n)*")
_KINDS = {
    "fp32": pa.float64(),
    "fp64": pa.float64(),
    "int64": pa.int64(),
    "raw": pa.binary(),
    "flags": pa.bool_(),
}

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows for one table."""

    table: str
    rows: int
    values: dict[str, list[Any]]
    """Columns, all `rows` long."""
    constants: dict[str, Any] = field(default_factory=dict)
    """Columns that have one value in all rows; for one table always the same ones."""
    types: dict[str, pa.DataType] = field(default_factory=dict)
    """Of the columns beyond the table's schema."""


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
    chances = _exactly(rows, list(message.inclusion_probability), "inclusion_probability")
    if not all(0.0 < p <= 1.0 for p in chances):
        raise Corrupt("inclusion_probability must be above 0 and at most 1")
    values: dict[str, list[Any]] = {
        "prediction_id": _ids(list(message.prediction_ids)),
        "row": _exactly(rows, list(message.row_in_request), "row_in_request"),
        "event_time": _exactly(rows, _times(list(message.event_us)), "event_us"),
        "inclusion_probability": chances,
    }
    types: dict[str, pa.DataType] = {}
    for prefix, columns in (("in.", message.inputs), ("out.", message.outputs)):
        for column in columns:
            name = prefix + _column_name(column.name)
            if name in types:
                raise Corrupt(f"column {name} is there twice")
            types[name], values[name] = _column(column, name, rows)
    return Columns(
        table=samples_table(message.scope.model),
        rows=rows,
        values=values,
        constants=_scope(message.scope) | {"policy": _text(message.policy, "policy")},
        types=types,
    )


def _column(column: Column, name: str, rows: int) -> tuple[pa.DataType, list[Any]]:
    """Type and values of one captured column; floats of any width become float64, exactly."""
    filled = [kind for kind in _KINDS if getattr(column, kind)]
    if len(filled) != 1:
        raise Corrupt(f"column {name} has {len(filled)} lists of values, not one")
    type_, values = _KINDS[filled[0]], list(getattr(column, filled[0]))
    width = max(1, column.width)
    if len(values) != rows * width:
        raise Corrupt(f"column {name} has {len(values)} values for {rows} rows of {width}")
    if width == 1:
        return type_, values
    return pa.list_(type_), [values[i : i + width] for i in range(0, len(values), width)]


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
    return Columns(table=FEEDBACK, rows=len(message.items), values=values)


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
    constants = _scope(message.scope) | {"body": body}
    for name in ("requests", "failures", "rows"):
        constants[name] = _count(getattr(message, name), name)
    for column in (*message.inputs, *message.outputs):
        _column_name(column.name)
        if not (math.isfinite(column.sum) and math.isfinite(column.sum_squares)):
            raise Corrupt(f"column {column.name}: its moments are not finite")
    return Columns(table=SUMMARIES, rows=1, values={}, constants=constants)


def _event(stream: str, message: Event) -> Columns:
    constants = {
        "stream": stream,
        "kind": _column_name(message.kind),
        "details": canonical_json(dict(message.details)).decode(),
    }
    return Columns(table=EVENTS, rows=1, values={}, constants=constants)


def _scope(scope: Scope) -> dict[str, Any]:
    if scope.version < 1:
        raise Corrupt("scope: version 0")
    if scope.window_us < 0:
        raise Corrupt("scope: a window of negative length")
    return {
        "model": check_name(scope.model, "model name"),
        "version": scope.version,
        "variant": _text(scope.variant, "variant"),
        "generation": _count(scope.generation, "generation"),
        "window_start": _time(scope.window_start_us),
        "window_us": scope.window_us,
    }


def _ids(values: list[str]) -> list[str]:
    """As `check_id` for each, with one match for all, since they are half of what is checked."""
    if not _IDS.fullmatch("\n".join(values) + "\n"):
        for value in values:
            check_id(value, "prediction id")
        raise Corrupt("prediction ids with line breaks")
    return values


def _times(unix_us: list[int]) -> list[int]:
    if unix_us:
        _time(min(unix_us))
        _time(max(unix_us))
    return unix_us


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
