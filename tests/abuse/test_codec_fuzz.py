"""No bytes make the codec crash, hang, take all memory, or say two different things."""

import gc
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.errors import InvalidInput
from fogline_edge.serving.codec import ModelCodec, target_of
from fogline_edge.serving.codec.fields import delimited
from tests.codec_messages import SCHEMAS, seeds

SECONDS = 60
MEGABYTES = 8


def read(codec: ModelCodec, message: bytes) -> None:
    """As a server does."""
    target_of(message)
    codec.read(message, 1)


@settings(max_examples=500)
@given(st.integers(0, len(SCHEMAS) - 1), st.data())
def test_any_bytes_are_a_request_or_the_callers_fault(number: int, data: st.DataObject) -> None:
    right = seeds()[number][1]
    at = data.draw(st.integers(0, len(right)))
    message = right[:at] + data.draw(st.binary(max_size=40))
    if data.draw(st.booleans()):
        message += right[data.draw(st.integers(0, len(right))) :]
    codec = ModelCodec("m", 1, list(SCHEMAS.values())[number])
    for _ in range(2):
        with suppress(InvalidInput):
            read(codec, message)


NAMED = b"\n\x01m"
COUNT = MEGABYTES * 2**20
FLOODS: dict[str, Callable[[], bytes]] = {
    "empty tensors": lambda: NAMED + b"\x2a\x00" * (COUNT // 2),
    "empty outputs": lambda: NAMED + b"\x32\x00" * (COUNT // 2),
    "empty contents": lambda: NAMED + b"\x3a\x00" * (COUNT // 2),
    "ids before a name": lambda: b"\x1a\x00" * (COUNT // 2) + NAMED,
    "empty parameters": lambda: NAMED + b"\x22\x00" * (COUNT // 2),
    "parameters of one tensor": lambda: NAMED + delimited(5, b"\x22\x00" * (COUNT // 2)),
    "parameters of one output": lambda: NAMED + delimited(6, b"\x12\x00" * (COUNT // 2)),
    "dimensions": lambda: NAMED + delimited(5, delimited(3, b"\x01" * COUNT)),
    "dimensions one by one": lambda: NAMED + delimited(5, b"\x18\x01" * (COUNT // 2)),
    "many tensors of many dimensions": lambda: (
        NAMED + delimited(5, delimited(3, b"\x01" * 300)) * 25_000
    ),
    "unknown fields": lambda: NAMED + b"\xf8\x07\x01" * (COUNT // 3),
    "typed numbers": lambda: (
        NAMED + delimited(5, b"\n\x01x" + delimited(5, delimited(3, b"\x01" * 2 * COUNT + b"\1")))
    ),
    "typed texts": lambda: (
        NAMED
        + delimited(5, b"\n\x01t\x12\x05BYTES" + delimited(5, b"\x42\x00" * COUNT))
        + delimited(5, delimited(3, b"\1" * 400))
    ),
    "groups in groups": lambda: NAMED + b"\xfb\x07" * (COUNT // 2),
    "tags without end": lambda: NAMED + b"\xff" * COUNT,
    "names within names": lambda: NAMED * (COUNT // 3),
}


def memory(field: str) -> float:
    """A figure of this process in MB: `VmRSS` now, `VmHWM` the highest since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_inside_of_a_message_takes_little_time_and_memory(name: str) -> None:
    """Under half a second and twice the message, whatever its fields are made of."""
    message = FLOODS[name]()
    codec = ModelCodec("m", 1, SCHEMAS["text"])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the highest resident size
    before, began = memory("VmRSS"), time.process_time()
    with pytest.raises(InvalidInput):
        read(codec, message)
    assert time.process_time() - began < 0.5
    assert memory("VmHWM") - before < 2 * MEGABYTES


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris")
def test_a_guided_search_finds_no_message_that_the_codec_is_wrong_about(tmp_path: Path) -> None:
    for number, message in seeds():
        (tmp_path / str(number)).write_bytes(bytes([number]) + message)
    command = [sys.executable, "-m", "tests.abuse.codec_fuzzer", str(tmp_path)]
    limits = [f"-max_total_time={SECONDS}", "-max_len=1024", "-timeout=5", "-rss_limit_mb=1024"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *limits, f"-artifact_prefix={tmp_path}/"],
        capture_output=True, text=True, check=False, timeout=SECONDS + 50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert time.monotonic() - began >= SECONDS / 2
