"""Servers for tests, in this process and as `fogline serve`, and a client that sends anything."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from msgspec.structs import replace

from fogline.addresses import Address
from fogline.runtime import ModelPlan, Session
from fogline.schema import Schema
from fogline.wire.services import METHODS
from fogline_edge.serving import (
    AgentSide,
    Listener,
    Models,
    Observation,
    ServedModel,
    Server,
    ServingConfig,
)

FOGLINE = str(Path(sys.executable).with_name("fogline"))
ANYWHERE = Address("127.0.0.1", 0)
INFER = "/inference.GRPCInferenceService/ModelInfer"


def served_model(path: Path, name: str = "m", version: int = 1) -> ServedModel:
    session = Session.open(path, ModelPlan(), label=f"model {name}@{version}")
    schema = Schema(inputs=session.inputs, outputs=session.outputs)
    return ServedModel(name=name, version=version, schema=schema, runner=session)


def models_of(*served: ServedModel) -> Models:
    models = Models()
    for one in served:
        models.add(one)
    return models


def server_of(models: Models, **parts: Any) -> Server:
    """A server that does not listen yet; see `running`."""
    side = {n: parts.pop(n) for n in ("observer", "feedback", "describe", "shadowed") if n in parts}
    if isinstance(parts.get("front"), str):
        config = parts.get("config", ServingConfig())
        front = replace(config.front, kind=parts.pop("front"))
        parts["config"] = replace(config, front=front)
    return Server((Listener(address=ANYWHERE),), models, agent=AgentSide(**side), **parts)


@contextmanager
def running(models: Models, **parts: Any) -> Iterator[str]:
    """A server in this process; gives its address and drains it.

    `front` is a kind of front; what an agent adds may be given by name.
    """
    server = server_of(models, **parts)
    (address,) = server.start()
    try:
        yield str(address)
    finally:
        server.drain()


@contextmanager
def serve_process(*arguments: str | Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`fogline serve` on a free port: the process and its address; ended by SIGTERM."""
    process = subprocess.Popen(
        [FOGLINE, "serve", *map(str, arguments), "--grpc", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready grpc="), (line, process.communicate()[1])
        yield process, line.removeprefix("ready grpc=").strip()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@contextmanager
def raw_channel(address: str) -> Iterator["RawChannel"]:
    channel = grpc.insecure_channel(address)
    try:
        yield RawChannel(channel)
    finally:
        channel.close()


class RawChannel:
    """Sends bytes, well-formed or not, and messages of ours."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def send(self, path: str, data: bytes, **options: Any) -> bytes:
        answer: bytes = self.channel.unary_unary(path)(data, **options)
        return answer

    def call(self, path: str, message: Any, **options: Any) -> Any:
        data = self.send(path, message.SerializeToString(), **options)
        return METHODS[path].response.FromString(data)


class Notebook:
    """An observer that keeps what it is told and numbers predictions."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.given = 0

    def prediction_ids(
        self, served: object, rows: Sequence[int], event_us: object, outputs: object
    ) -> list[str]:
        first = self.given + 1
        self.given += len(rows)
        return [f"p-{n}" for n in range(first, self.given + 1)]

    def observe(self, batch: Sequence[Observation]) -> None:
        self.seen += batch
