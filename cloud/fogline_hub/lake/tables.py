"""The lake's tables: their names and the columns that each starts with.

Every row says which message brought it: `device, outbox_id, seq`, and when it came. A table of
samples gets one column more for each input and output of the model as its samples name them.
"""

import pyarrow as pa

from fogline.errors import InvalidInput, NotFound
from fogline.ids import check_name

FEEDBACK = "feedback"
SUMMARIES = "summaries"
EVENTS = "events"
QUARANTINE = "quarantine"
PARTITION = "received_day"
_SAMPLES = "samples-"

TIMESTAMP = pa.timestamp("us", tz="UTC")
_ORIGIN = [
    pa.field("device", pa.string()),
    pa.field("outbox_id", pa.string()),
    pa.field("seq", pa.int64()),
    pa.field("body_digest", pa.int64()),  # first 8 bytes of the body's SHA-256, big-endian, signed
    pa.field("received_at", TIMESTAMP),
    pa.field(PARTITION, pa.date32()),
]
_SCOPE = [
    pa.field("model", pa.string()),
    pa.field("version", pa.int64()),
    pa.field("variant", pa.string()),
    pa.field("generation", pa.int64()),
    pa.field("window_start", TIMESTAMP),
    pa.field("window_us", pa.int64()),
]
_SCHEMAS = {
    FEEDBACK: [
        pa.field("prediction_id", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("event_time", TIMESTAMP),
        pa.field("observed_at", TIMESTAMP),
        pa.field("actual_number", pa.float64()),
        pa.field("actual_text", pa.string()),
    ],
    SUMMARIES: [
        *_SCOPE,
        pa.field("requests", pa.int64()),
        pa.field("failures", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("body", pa.binary()),
    ],
    EVENTS: [
        pa.field("stream", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("details", pa.string()),
    ],
    QUARANTINE: [
        pa.field("stream", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("payload", pa.binary()),
    ],
}
_SAMPLE_COLUMNS = [
    *_SCOPE,
    pa.field("prediction_id", pa.string()),
    pa.field("row", pa.int64()),
    pa.field("event_time", TIMESTAMP),
    pa.field("inclusion_probability", pa.float64()),
    pa.field("policy", pa.string()),
]


def samples_table(model: str) -> str:
    """Name of the table of a model's samples.

    Raises:
        InvalidInput: `model` is not a legal name, so it cannot be a folder's either.
    """
    return _SAMPLES + check_name(model, "model name")


def sampled_model(table: str) -> str | None:
    """The model whose samples a table holds; None for another table."""
    return table[len(_SAMPLES) :] if table.startswith(_SAMPLES) else None


def is_table(name: str) -> bool:
    """Whether the lake may have a table of that name."""
    try:
        schema_of(name)
    except InvalidInput:
        return False
    return True


def schema_of(table: str) -> pa.Schema:
    """The columns that a table starts with.

    Raises:
        NotFound: the lake has no such table.
        InvalidInput: the name of a table of samples holds no legal model name.
    """
    model = sampled_model(table)
    if model is not None:
        check_name(model, "model name")
        return pa.schema([*_ORIGIN, *_SAMPLE_COLUMNS])
    if table not in _SCHEMAS:
        raise NotFound(
            f"no lake table {table[:80]!r}; there are {', '.join(_SCHEMAS)} and {_SAMPLES}MODEL"
        )
    return pa.schema([*_ORIGIN, *_SCHEMAS[table]])
