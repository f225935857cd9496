"""Structured logs: one JSON object a line on stderr, never a tensor value.

Call sites use the standard library: `logging.getLogger(__name__).info("activated",
extra={"model": ref})`. Only `configure` is Fogline's own, called once by a composition root.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MAX_VALUE_CHARS = 2000


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "event", **extra}` on one line; long values are cut."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        entry.update((k, v) for k, v in vars(record).items() if k not in _STANDARD)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({k: _bounded(v) for k, v in entry.items()}, default=str)


def _bounded(value: Any) -> Any:
    return (
        value[:_MAX_VALUE_CHARS] + "…"
        if isinstance(value, str) and len(value) > _MAX_VALUE_CHARS
        else value
    )


def configure(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Sends the root logger's records to `stream` (stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
