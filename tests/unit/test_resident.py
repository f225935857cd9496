import doctest
import subprocess
import sys

from fogline import resident

SCRIPT = """
import numpy, onnxruntime, sys
from fogline.resident import release_start_pages
def resident():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Rss:"):
            return int(line.split()[1])
before = resident()
released = release_start_pages()
after = resident()
assert released > 10 * 2**20, released
assert after < before - 10 * 1024, (before, after)
assert numpy.linalg.inv(numpy.eye(3)).sum() == 3  # what was let go comes back
print("fine")
"""


def test_doctests() -> None:
    assert doctest.testmod(resident).failed == 0


def test_code_that_only_the_start_needed_leaves_memory_and_comes_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, "fine\n"), ran.stderr
