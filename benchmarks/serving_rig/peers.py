"""The servers that are compared: how each is started with some models, and when it answers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.serving_rig import cache, processes
from benchmarks.serving_rig.load import INFER
from benchmarks.serving_rig.workloads import Workload

START_TIMEOUT_S = 60.0
MODULE = "benchmarks.serving_rig"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A self-signed certificate for localhost and 127.0.0.1, and its key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a server is started with."""

    port: int
    folder: Path
    """Its own, empty."""
    workloads: Sequence[Workload]
    tls: Pair | None
    can_install: bool

    def models(self) -> list[str]:
        return [f"{w.name}={w.model}" for w in self.workloads]

    def pair(self, option: str = "--tls") -> list[str]:
        return [option, str(self.tls.certificate), str(self.tls.key)] if self.tls else []


Command = Callable[[Place], list[str]]
"""The process to start. Raises `cache.Missing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One server."""

    label: str
    command: Command
    is_ours: bool = False
    is_echo: bool = False
    """Answers with what it got: no model, so a small request's cost is all that it tells."""
    has_tls: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def echo(label: str, api: str) -> Peer:
    def command(place: Place) -> list[str]:
        pair = place.pair()[1:]
        return [str(cache.echo_program()), api, f"127.0.0.1:{place.port}", *pair]

    return Peer(label=label, command=command, is_echo=True)


def ours(label: str, *options: str) -> Peer:
    """A whole server with capture; see `ours.py`."""

    def command(place: Place) -> list[str]:
        bundles = [str(w.bundle) for w in place.workloads]
        words = [str(place.port), str(place.folder), *bundles, *options, *place.pair()]
        return [sys.executable, "-m", f"{MODULE}.ours", *words]

    return Peer(label=label, command=command, is_ours=True)


def _grpcio(place: Place) -> list[str]:
    words = [str(place.port), *place.models(), *place.pair()]
    return [sys.executable, "-m", f"{MODULE}.grpcio_server", *words]


def _kserve(place: Place) -> list[str]:
    python = cache.environment_with(
        "kserve", "kserve", "onnxruntime", can_install=place.can_install
    )
    script = cache.HERE / "kserve_server.py"
    return [str(python), str(script), str(place.port), str(free_port()), *place.models()]


def _mlserver(place: Place) -> list[str]:
    python = cache.environment_with(
        "mlserver", "mlserver", "onnxruntime", can_install=place.can_install
    )
    settings = {
        "host": "127.0.0.1",
        "grpc_port": place.port,
        "http_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,  # in the server's own process, which is faster for small models
        "debug": False,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    for workload in place.workloads:
        folder = place.folder / workload.name
        folder.mkdir()
        told = {
            "name": workload.name,
            "implementation": "mlserver_model.OnnxModel",
            "parameters": {"uri": str(workload.model)},
        }
        (folder / "model-settings.json").write_text(json.dumps(told))
    return [str(python.with_name("mlserver")), "start", str(place.folder)]


GRPCIO = Peer(label="grpcio + onnxruntime", command=_grpcio)
KSERVE = Peer(label="KServe", command=_kserve, has_tls=False)
MLSERVER = Peer(
    label="MLServer",
    command=_mlserver,
    has_tls=False,
    environment={"PYTHONPATH": str(cache.HERE)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that has answered rightly."""

    peer: Peer
    process: "subprocess.Popen[bytes]"
    port: int
    is_tls: bool
    cold_start_s: float
    """From before its process was made to its first right answer."""

    @property
    def pid(self) -> int:
        return self.process.pid


@contextlib.contextmanager
def running(peer: Peer, place: Place, cores: Collection[int] = ()) -> Iterator[Running]:
    """Starts a server and ends it.

    Raises:
        cache.Missing: it is not to be had here.
        RuntimeError: it gave no right answer in time.
    """
    command = peer.command(place)
    log = (place.folder / "server.log").open("wb")
    began = time.perf_counter()
    process = subprocess.Popen(
        processes.pinned(command, cores),
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **peer.environment},
        start_new_session=True,
    )
    try:
        _wait_answer(process, peer, place)
        yield Running(
            peer=peer,
            process=process,
            port=place.port,
            is_tls=place.tls is not None,
            cold_start_s=time.perf_counter() - began,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait_answer(process: "subprocess.Popen[bytes]", peer: Peer, place: Place) -> None:
    deadline = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", place.port), 1.0).close()
        except OSError:
            time.sleep(0.002)
            continue
        if all(_answers(peer, place, w) for w in place.workloads):
            return
        time.sleep(0.002)
    last = (place.folder / "server.log").read_bytes().decode(errors="replace").strip()
    raise RuntimeError(f"{peer.label} gave no right answer; its last words:\n{last[-2000:]}")


def _answers(peer: Peer, place: Place, workload: Workload) -> bool:
    message = workload.first_message()
    address = f"127.0.0.1:{place.port}"
    if place.tls:
        trusted = grpc.ssl_channel_credentials(place.tls.certificate.read_bytes())
        channel = grpc.secure_channel(address, trusted)
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        try:
            answer: bytes = channel.unary_unary(INFER)(message, timeout=10.0)
        except grpc.RpcError:
            return False
    if peer.is_echo:
        return answer == message
    return not workload.mistake(answer, workload.expected["identical"][0], "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def make_pair(folder: Path) -> Pair:
    """Raises `cache.Missing` without the `openssl` command."""
    pair = Pair(certificate=folder / "certificate.pem", key=folder / "key.pem")
    cache.run(
        (
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "1", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", pair.key, "-out", pair.certificate,
        )
    )  # fmt: skip
    return pair
