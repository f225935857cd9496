"""The Go client of `tests/clients/go`, built once a test run, and what its calls came to."""

import base64
import fcntl
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("go")
DEBIAN_PACKAGES = Path("/usr/share/gocode")
GRPC = DEBIAN_PACKAGES / "src/google.golang.org/grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call ended."""

    code: str
    message: str
    responses: tuple[bytes, ...] = ()
    header: dict[str, list[str]] = field(default_factory=dict)
    trailer: dict[str, list[str]] = field(default_factory=dict)


class GoClient:
    """Runs the program, one process a call."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def call(
        self, address: str, method: str, messages: Sequence[bytes], **options: object
    ) -> Outcome:
        """One call: `mode="unary"` or `mode="stream"`; other options as in `main.go`."""
        return outcome(self.run(address, method, messages, **options))

    def run(self, address: str, method: str, messages: Sequence[bytes], **options: object) -> Any:
        words = [f"-{name.replace('_', '-')}={value}" for name, value in options.items()]
        done = subprocess.run(
            [self._program, f"-address={address}", f"-method={method}", *words],
            input=b"".join(struct.pack(">I", len(m)) + m for m in messages),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)


def outcome(told: Any) -> Outcome:
    return Outcome(
        code=told["code"],
        message=told["message"],
        responses=tuple(base64.b64decode(one or "") for one in told["responses"] or ()),
        header=told["header"] or {},
        trailer=told["trailer"] or {},
    )


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> GoClient:
    """Skips where Go or grpc-go is not installed."""
    if shutil.which("go") is None or not GRPC.is_dir():
        pytest.skip("needs Debian's golang-go and golang-google-grpc-dev")
    # One folder for all workers of a run: what the first one builds serves the others.
    shared = tmp_path_factory.getbasetemp().parent
    program = shared / "go-client"
    with (shared / "go-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            build(program)
    return GoClient(program)


def build(program: Path) -> None:
    partial = program.with_suffix(".partial")
    done = subprocess.run(
        ["go", "build", "-o", partial, "."],
        cwd=SOURCE,
        env={**os.environ, "GO111MODULE": "off", "GOPATH": str(DEBIAN_PACKAGES), "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    partial.replace(program)
