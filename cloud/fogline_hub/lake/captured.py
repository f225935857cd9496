"""Samples of one model, joined with what became true of them; for retraining, export and judging.

A sample is a row that was captured with a known probability, so each stands for `weight =
1 / inclusion_probability` rows of traffic (Horvitz and Thompson, 1952). Feedback belongs to a
sample when device, prediction id and row are the same: only the device that answered can label its
answer. Of several actuals of one row the first that came counts.
"""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from fogline_hub.lake.lake import Lake
from fogline_hub.lake.tables import FEEDBACK, TIMESTAMP, samples_table

_KEYS = ["device", "prediction_id", "row"]
_ACTUAL = ["observed_at", "actual_number", "actual_text"]
_AT = "_at"


def samples(
    lake: Lake,
    model: str,
    *,
    versions: tuple[int, ...] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    labelled: bool = False,
) -> pa.Table:
    """Captured rows of a model in the order of their event time.

    Args:
        lake: Where they are.
        model: Its name.
        versions: Those that answered; empty for all.
        since: First event time (aware).
        until: Event time before which they are (aware).
        labelled: Only rows whose actual is known.

    Returns:
        A row a sample: the table's own columns (`in.*`, `out.*`, `event_time`, `version`, ...),
        `weight` (float64), and `observed_at`, `actual_number` and `actual_text`, which are null
        while the actual is unknown. Texts (`BYTES`) are strings where all of a column are UTF-8,
        else binary.

    Raises:
        InvalidInput: `model` is no legal name.
        Corrupt, Unavailable: the lake cannot be read.
    """
    found = lake.table(samples_table(model)).read(where=_chosen(versions, since, until))
    found = found.sort_by([("event_time", "ascending"), *((k, "ascending") for k in _KEYS)])
    weight = pc.divide(1.0, found["inclusion_probability"])
    found = found.append_column("weight", weight)
    joined = _with_actuals(found, _first_actuals(lake, model))
    if labelled:
        known = pc.or_(pc.is_valid(joined["actual_number"]), pc.is_valid(joined["actual_text"]))
        joined = joined.filter(known)
    return _with_texts(joined)


def count_labelled(lake: Lake, model: str) -> int:
    """How many actuals the lake has for a model, each row once; cheap, reads no sample."""
    return int(_first_actuals(lake, model).num_rows)


def _chosen(
    versions: tuple[int, ...], since: datetime | None, until: datetime | None
) -> pc.Expression | None:
    parts = []
    if versions:
        parts.append(pc.field("version").isin(list(versions)))
    if since is not None:
        parts.append(pc.field("event_time") >= pa.scalar(since, TIMESTAMP))
    if until is not None:
        parts.append(pc.field("event_time") < pa.scalar(until, TIMESTAMP))
    chosen = None
    for part in parts:
        chosen = part if chosen is None else chosen & part
    return chosen


def _first_actuals(lake: Lake, model: str) -> pa.Table:
    """The first feedback of each row: its keys and `_ACTUAL`."""
    order = ["received_at", "outbox_id", "seq"]
    found = lake.table(FEEDBACK).read([*_KEYS, *_ACTUAL, *order], pc.field("model") == model)
    found = found.sort_by([(name, "ascending") for name in order])
    found = _numbered(found, _AT)
    first = found.group_by(_KEYS).aggregate([(_AT, "min")])[f"{_AT}_min"]
    return found.take(first).select([*_KEYS, *_ACTUAL])


def _with_actuals(found: pa.Table, actuals: pa.Table) -> pa.Table:
    """`found` in its order, with the actuals' columns.

    Row numbers are joined, not rows: Arrow's join takes no columns of lists.
    """
    left = _numbered(found.select(_KEYS), _AT)
    right = _numbered(actuals.select(_KEYS), "_actual")
    places = left.join(right, keys=_KEYS, join_type="left outer").sort_by(_AT)["_actual"]
    chosen = actuals.select(_ACTUAL).take(places)
    for name in _ACTUAL:
        found = found.append_column(name, chosen[name])
    return found


def _numbered(table: pa.Table, name: str) -> pa.Table:
    return table.append_column(name, pa.array(range(table.num_rows), pa.int64()))


def _with_texts(table: pa.Table) -> pa.Table:
    for at, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            try:
                table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
            except pa.ArrowInvalid:  # not UTF-8
                continue
    return table
