"""What is freed goes back to the machine; each in a process of its own, whose heap is changed."""

import subprocess
import sys

import pytest

ANONYMOUS = """
import sys
from fogline.allocator import large_apart, trim, use_one_heap

def anonymous():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith("Anonymous:")) // 1024
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ANONYMOUS + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_what_is_large_goes_back_at_once_though_what_is_small_lies_behind_it() -> None:
    found = run("""
before = anonymous()
with large_apart():
    large, small = [], []
    for _ in range(100):
        large.append(bytearray(1_000_000))
        small.append(bytearray(1_000))
    held = anonymous() - before
    del large
    left = anonymous() - before
print(held > 90, left < 10, len(small))
""")
    assert found == "True True 100"


def test_trim_reaches_what_other_threads_freed_into_the_one_heap() -> None:
    found = run("""
import threading
is_glibc = use_one_heap()
with large_apart():  # from here on only what is larger than 32 MiB lies apart
    pass
before = anonymous()
kept = []

def work():
    many = [bytearray(200_000) for _ in range(200)]
    kept.append(bytearray(100))
    del many

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
trim()
print(not is_glibc or anonymous() - before < 8)
""")
    assert found == "True"


def test_the_allocator_needs_nothing_that_takes_memory_itself() -> None:
    heavy = "{'numpy', 'onnxruntime', 'google', 'asyncio'}"
    assert run(f"print({heavy} & set(sys.modules))") == "set()"
