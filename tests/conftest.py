"""What holds for every test."""

import logging
from collections.abc import Iterator

import pytest

from fogline.log import JsonFormatter


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sends the log to a stream that ends with it."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [h for h in root.handlers if isinstance(h.formatter, JsonFormatter)]:
        root.removeHandler(handler)
    root.setLevel(level)
