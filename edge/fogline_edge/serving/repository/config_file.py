"""A `config.pbtxt`: text to message, and where in the text a field stands; pure but for the read.

Source: the text format of protocol buffers (`protobuf.dev/reference/protobuf/textformat-spec`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from fogline.errors import InvalidInput
from fogline.wire.model_config_pb2 import ModelConfig
from fogline.wire.pool import POOL

CONFIG_NAME = "config.pbtxt"
MAX_CONFIG_BYTES = 256 * 1024
"""Longest text that is parsed, in bytes."""

_NOT_A_FIELD = re.compile(r""" "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | \#[^\n]* """, re.X)
"""Strings and comments."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration as it was read, with its text for the sake of errors."""

    path: str
    text: str
    message: ModelConfig

    def where(self, fields: Sequence[str]) -> str:
        """`path:line` of a field, given by its name and its parents' before it.

        The first place that can be meant; the path alone where there is none.
        """
        bare = _NOT_A_FIELD.sub(lambda found: " " * len(found.group()), self.text)
        at = 0
        for name in fields:
            found = re.compile(rf"\b{re.escape(name)}\b").search(bare, at)
            if found is None:
                return self.path
            at = found.end()
        return f"{self.path}:{bare.count(chr(10), 0, at) + 1}"


def read_config(path: Path) -> ConfigFile:
    """Reads a configuration file. Raises `InvalidInput` as `parse_config`, or if it is too long."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as e:
        raise InvalidInput(f"{path}: cannot be read: {e.strerror or e}") from e
    if len(data) > MAX_CONFIG_BYTES:
        raise InvalidInput(f"{path}: more than {MAX_CONFIG_BYTES} bytes")
    return parse_config(data, str(path))


def parse_config(data: bytes, path: str) -> ConfigFile:
    """Reads a configuration's text.

    Raises:
        InvalidInput: not UTF-8, not the text format, or a field that Triton does not know; the
            text names file, line and column.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        raise InvalidInput(f"{path}: not UTF-8 at byte {e.start}") from None
    try:
        message = text_format.Parse(text, ModelConfig(), descriptor_pool=POOL)
    except text_format.ParseError as e:
        line, column = e.GetLine(), e.GetColumn()
        raise InvalidInput(f"{path}:{line}:{column}: {_reason(e)}") from None
    except (ValueError, RecursionError) as e:
        raise InvalidInput(f"{path}: {type(e).__name__} while it was read") from None
    return ConfigFile(path, text, message)


def _reason(error: text_format.ParseError) -> str:
    """The parser's text without its own position and the whole line, which it repeats."""
    return re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error))[:400]
