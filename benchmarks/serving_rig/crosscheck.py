"""nghttp2's `h2load` on identical requests: whether our load generator measures what others do."""

import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from benchmarks.serving_rig import processes
from benchmarks.serving_rig.load import INFER, Measured

MAX_REQUESTS = 40_000
TIMEOUT_S = 120.0
_FINISHED = re.compile(r"finished in ([0-9.]+)(ms|s), ")
_SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed")


def is_there() -> bool:
    return shutil.which("h2load") is not None


def measure(
    port: int,
    pid: int,
    body: Path,
    in_flight: int,
    requests: int = MAX_REQUESTS,
    cores: Collection[int] = (),
) -> Measured:
    """One run; `h2load` tells no quantiles, and knows HTTP's status alone."""
    command = (
        "h2load", "-c1", f"-m{in_flight}", f"-n{requests}", f"-d{body}",
        "-H", "te: trailers", "-H", "content-type: application/grpc",
        f"http://127.0.0.1:{port}{INFER}",
    )  # fmt: skip
    before = processes.cpu_s(pid)
    done = subprocess.run(
        processes.pinned(command, cores),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    cpu_us = (processes.cpu_s(pid) - before) / requests * 1e6
    finished, succeeded = _FINISHED.search(done.stdout), _SUCCEEDED.search(done.stdout)
    if finished is None or succeeded is None:
        raise RuntimeError(f"h2load said: {done.stdout[-500:]}")
    seconds = float(finished[1]) / (1000 if finished[2] == "ms" else 1)
    return Measured(
        requests=int(succeeded[1]),
        failed=int(succeeded[2]),
        seconds=seconds,
        p50_us=float("nan"),
        p99_us=float("nan"),
        cpu_us=cpu_us,
    )
