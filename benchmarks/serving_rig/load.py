"""Runs the load generator against one server, and reads the server's CPU time at both ends."""

import json
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving_rig import cache, processes

INFER = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 120.0
"""Beyond the measured seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run."""

    requests: int
    failed: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: float = 0.0
    """The server's, for each request."""
    load_cpu_us: float = 0.0
    """The load generator's own."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class Load:
    """One load generator between its warm-up and its end; several may run side by side."""

    def __init__(
        self,
        port: int,
        pool: Path,
        samples: Path,
        *,
        in_flight: int,
        seconds: float = 0.0,
        requests: int = 0,
        connections: int = 1,
        warm_s: float = 0.3,
        tls: bool = False,
        cores: Collection[int] = (),
    ) -> None:
        """Starts the warm-up. Raises `cache.Missing` when the generator cannot be built."""
        salt = time.monotonic_ns() & 0xFFFFF
        words = (
            "127.0.0.1", port, "tls" if tls else "plain", INFER, pool, in_flight, connections,
            warm_s, seconds, requests, salt, samples,
        )  # fmt: skip
        self._timeout_s = seconds + TIMEOUT_S + requests / 500
        self._process = subprocess.Popen(
            processes.pinned((str(cache.load_program()), *map(str, words)), cores),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_warm(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "warm\n":
            self._process.communicate()
            raise RuntimeError("the load generator failed; what it said stands above")

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> Measured:
        """Waits for the end; the server's CPU time is not known here."""
        out, _ = self._process.communicate(timeout=self._timeout_s)
        if self._process.returncode:
            raise RuntimeError("the load generator failed; what it said stands above")
        told = json.loads(out)
        load_cpu_us = told.pop("load_cpu_s") / max(1, told["requests"]) * 1e6
        return Measured(**told, load_cpu_us=load_cpu_us)


def measure(load: Load, pid: int) -> Measured:
    """One run with the server's CPU time, user and system, of its whole process tree."""
    load.wait_warm()
    before = processes.cpu_s(pid)
    load.begin()
    found = load.end()
    cpu_s = processes.cpu_s(pid) - before
    return replace(found, cpu_us=cpu_s / max(1, found.requests) * 1e6)
