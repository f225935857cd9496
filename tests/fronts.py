"""Fronts with a scripted answer, and peers that write HTTP/2 frames by hand."""

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from fogline import errors
from fogline.addresses import Address
from fogline_edge.serving.calls import Call, Endpoint, Front, Listener
from fogline_edge.serving.front import FrontConfig, make_front
from fogline_edge.serving.front.loop import Http2Front

ANYWHERE = Listener(address=Address("127.0.0.1", 0))
UNARY = "/inference.GRPCInferenceService/ModelInfer"
WATCH = "/grpc.health.v1.Health/Watch"
"""One request, many responses."""
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
"""Many requests, many responses."""


class Script:
    """Answers calls as their metadata `do` says.

    echo (by default), length, many, sum, wait, thread, fail, raise, metadata, peer; see the
    methods. What a call does when it ends is counted.
    """

    def __init__(self) -> None:
        self.seen: list[Call] = []
        self.polls: list[int] = []
        self.ended = 0
        self.waiting: list[Call] = []
        self._lock = threading.Lock()

    def __call__(self, calls: Sequence[Call]) -> None:
        self.polls.append(len(calls))
        for call in calls:
            self.seen.append(call)
            call.when_ended(self._count_end)
            word = str(call.metadata.get("do", "echo"))
            if word == "crash":
                raise RuntimeError("a fault of ours")
            getattr(self, f"do_{word}")(call)

    def _count_end(self) -> None:
        with self._lock:
            self.ended += 1

    def do_echo(self, call: Call) -> None:
        if call.method == STREAM:
            self._echo_next(call)
        elif call.method in (UNARY, WATCH):
            call.finish(call.message)
        else:
            call.fail(errors.Unsupported(f"the method {call.method} is not served"))

    def _echo_next(self, call: Call) -> None:
        def take(message: bytes | None) -> None:
            if message is None:
                call.finish(None)
            else:
                call.send(message)
                call.when_writable(lambda: call.receive(take))

        call.receive(take)

    def do_length(self, call: Call) -> None:
        call.finish(b"%d" % len(call.message))

    def do_big(self, call: Call) -> None:
        call.finish(b"x" * int(call.message))

    def do_many(self, call: Call) -> None:
        """As many responses as the message says, as fast as the peer reads them."""
        count, size = (int(n) for n in call.message.split())
        left = [count]

        def more() -> None:
            while left[0] and call.is_writable() and not call.is_cancelled():
                left[0] -= 1
                call.send(b"%d" % left[0] + b"." * size)
            if not left[0]:
                call.finish(None)
            elif not call.is_cancelled():
                call.when_writable(more)

        more()

    def do_flood(self, call: Call) -> None:
        """Sends without asking whether anybody reads."""
        while not call.is_cancelled():
            call.send(b"x" * 100_000)

    def do_sum(self, call: Call) -> None:
        total = [0]

        def take(message: bytes | None) -> None:
            if message is None:
                call.finish(b"%d" % total[0])
            else:
                total[0] += len(message)
                call.receive(take)

        call.receive(take)

    def do_wait(self, call: Call) -> None:
        self.waiting.append(call)

    def do_stall(self, call: Call) -> None:
        """Takes no message of its stream."""
        self.waiting.append(call)

    def do_thread(self, call: Call) -> None:
        """Ends from other threads, more than once."""
        for _ in range(2):
            threading.Thread(target=call.finish, args=(call.message,)).start()

    def do_raise(self, call: Call) -> None:
        kind: type[errors.FoglineError] = getattr(errors, str(call.metadata["kind"]))
        call.fail(kind(str(call.message, "utf-8")))

    def do_half(self, call: Call) -> None:
        call.send(b"one")
        call.fail(errors.Conflict("after one"))

    def do_metadata(self, call: Call) -> None:
        call.finish(repr(sorted(dict(call.metadata).items())).encode())

    def do_peer(self, call: Call) -> None:
        call.finish(repr(call.peer).encode())

    def do_deadline(self, call: Call) -> None:
        call.finish(repr(call.deadline_s).encode())


@dataclass
class Running:
    """A front that listens."""

    front: Front
    script: Script
    endpoints: tuple[Endpoint, ...]
    kind: str = "http2"
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.endpoints[0])

    @property
    def port(self) -> int:
        address = self.endpoints[0].address
        assert isinstance(address, Address)
        return address.port


def front_of(kind: str, listeners: Sequence[Listener], **bounds: Any) -> Front:
    if kind == "asyncio":
        import asyncio

        return Http2Front(listeners, FrontConfig(**bounds), make_loop=asyncio.new_event_loop)
    return make_front(listeners, FrontConfig(kind=kind, **bounds))  # type: ignore[arg-type]


@contextmanager
def running_front(
    kind: str = "http2", *, listeners: Sequence[Listener] = (ANYWHERE,), **bounds: Any
) -> Iterator[Running]:
    front = front_of(kind, listeners, **bounds)
    script = Script()
    running = Running(front, script, front.start(script), kind)
    try:
        yield running
    finally:
        front.drain(0.1)


@contextmanager
def channel_to(address: str, **options: Any) -> Iterator["Channel"]:
    channel = grpc.insecure_channel(
        address,
        options=[
            # Channels of one process share connections unless they are told not to.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            *((f"grpc.{k}", v) for k, v in options.items()),
        ],
    )
    try:
        yield Channel(channel)
    finally:
        channel.close()


class Channel:
    """A gRPC client that sends bytes."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def call(
        self, message: bytes = b"", do: str = "echo", *, path: str = UNARY, **options: Any
    ) -> bytes:
        answer: bytes = self.channel.unary_unary(path)(
            message, **{"timeout": 20, **_with(do, options)}
        )
        return answer

    def future(self, message: bytes = b"", do: str = "echo", **options: Any) -> Any:
        return self.channel.unary_unary(UNARY).future(message, **_with(do, options))

    def watch(self, message: bytes, do: str = "many", **options: Any) -> Any:
        return self.channel.unary_stream(WATCH)(message, **{"timeout": 20, **_with(do, options)})

    def stream(self, messages: Iterator[bytes], do: str = "echo", **options: Any) -> Any:
        return self.channel.stream_stream(STREAM)(messages, **{"timeout": 20, **_with(do, options)})


def _with(do: str, options: Mapping[str, Any]) -> dict[str, Any]:
    metadata = [("do", do), *options.get("metadata", ())]
    return {**options, "metadata": metadata}


def failure_of(send: Callable[[], object]) -> tuple[str, str]:
    """Status and text of a call that fails."""
    try:
        send()
    except grpc.RpcError as e:
        error: Any = e
        return error.code().name, error.details()
    raise AssertionError("the call did not fail")


# Frames by hand (RFC 9113, section 4.1)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK, PADDED = 1, 4, 1, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":path": UNARY,
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def block_of(headers: Mapping[str, str | bytes]) -> bytes:
    """HPACK, literals without indexing (RFC 7541, section 6.2.2)."""

    def text(value: str | bytes) -> bytes:
        data = value.encode() if isinstance(value, str) else value
        if len(data) < 127:
            return bytes([len(data)]) + data
        rest, size = len(data) - 127, bytearray([127])
        while rest > 127:
            size.append(rest & 127 | 128)
            rest >>= 7
        size.append(rest)
        return bytes(size) + data

    return b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())


def request(stream: int, *, ends: bool = False, **changes: Any) -> bytes:
    """A HEADERS frame; `changes` replace or add headers, `_` standing for `-`, `p_` for `:`."""
    headers: dict[str, str | bytes] = dict(REQUEST)
    for name, value in changes.items():
        key = f":{name[2:]}" if name.startswith("p_") else name.replace("_", "-")
        if value == "":
            headers.pop(key, None)
        else:
            headers[key] = value
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(HEADERS, flags, stream, block_of(headers))


def message(data: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(data).to_bytes(4, "big") + data


def whole_call(stream: int, data: bytes = b"hello", **changes: Any) -> bytes:
    return request(stream, **changes) + frame(DATA, END_STREAM, stream, message(data))


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class RawPeer:
    """A client that writes what it is told to and reads frames."""

    def __init__(self, port: int, *, greets: bool = True, settings: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()
        if greets:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
            self.until(SETTINGS)
            self.send(frame(SETTINGS, ACK))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def next(self) -> Frame | None:
        """None at the connection's end."""
        head = self._read(9)
        if head is None:
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self._read(int.from_bytes(head[:3], "big"))
        return None if payload is None else Frame(kind, flags, stream, payload)

    def until(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of a kind; raises when the connection ends before."""
        while (found := self.next()) is not None:
            if found.kind == kind and stream in (None, found.stream):
                return found
        raise ConnectionError("the connection ended")

    def end_of(self, stream: int) -> list[Frame]:
        """All frames of a stream to its end."""
        frames = []
        while (found := self.next()) is not None:
            if found.stream == stream and found.kind in (HEADERS, DATA, RST_STREAM):
                frames.append(found)
                if found.kind == RST_STREAM or found.flags & END_STREAM:
                    return frames
        raise ConnectionError("the connection ended")

    def rest(self) -> list[Frame]:
        """Everything to the connection's end."""
        frames = []
        while (found := self.next()) is not None:
            frames.append(found)
        return frames

    def _read(self, size: int) -> bytes | None:
        while len(self._data) < size:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                return None
            if not data:
                return None
            self._data += data
        found = bytes(self._data[:size])
        del self._data[:size]
        return found

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def goaway_of(found: Frame) -> tuple[int, int, bytes]:
    """Last stream, error code, debug data."""
    last, code = struct.unpack(">II", found.payload[:8])
    return last, code, found.payload[8:]


class ChildFront:
    """A front in a process of its own, which tells its CPU time and memory."""

    def __init__(self, **bounds: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.front_child", repr(bounds)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    @property
    def pid(self) -> int:
        return self._process.pid

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self) -> dict[str, float]:
        """`cpu_s`, `rss_mb`, and the front's counts."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._line())
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> "ChildFront":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
