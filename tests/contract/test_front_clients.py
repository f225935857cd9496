"""Clients on other HTTP/2 libraries, or none of ours: grpcio's asyncio client, nghttp, h2load."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from fogline.addresses import Address
from fogline_edge.serving.calls import Listener
from fogline_edge.serving.front.loop import new_loop
from tests.certificates import Authority
from tests.fronts import ANYWHERE, STREAM, UNARY, WATCH, Running, message, running_front

GRPC_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@pytest.fixture(scope="module", params=["http2", "asyncio", "grpcio"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_front(request.param) as front:
        yield front


async def call_every_way(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        unary: Any = channel.unary_unary(UNARY)
        assert await asyncio.gather(*(unary(b"%d" % i) for i in range(100))) == [
            b"%d" % i for i in range(100)
        ]
        watch = channel.unary_stream(WATCH)(b"5 1", metadata=(("do", "many"),))
        assert [one async for one in watch] == [b"4.", b"3.", b"2.", b"1.", b"0."]

        async def requests() -> AsyncIterator[bytes]:
            for i in range(20):
                yield b"%d" % i

        stream = channel.stream_stream(STREAM)(requests())
        assert [one async for one in stream] == [b"%d" % i for i in range(20)]
        waits: Any = unary(b"", metadata=(("do", "wait"),))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits


def test_the_asyncio_client_calls_every_way(running: Running) -> None:
    asyncio.run(call_every_way(running.address))


BUSY = """
import asyncio, sys
import grpc

async def call(address, method, in_flight, calls):
    async with grpc.aio.insecure_channel(address) as channel:
        unary = channel.unary_unary(method)
        async def call_one_by_one():
            for _ in range(calls // in_flight):
                assert await unary(bytes(300), metadata=(("do", "length"),)) == b"300"
        await asyncio.gather(*(call_one_by_one() for _ in range(in_flight)))

asyncio.run(call(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@pytest.mark.parametrize(("kind", "in_flight"), [("http2", 64), ("asyncio", 256)])
def test_a_busy_client_is_no_flood(kind: str, in_flight: int) -> None:
    """It gives windows back and probes with PINGs for its answers, many of which leave together."""
    with running_front(kind) as front:
        words = [front.address, UNARY, str(in_flight), str(20 * 1024)]
        done = subprocess.run(
            [sys.executable, "-c", BUSY, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="needs nghttp")
@pytest.mark.parametrize("secure", [False, True])
def test_nghttp_sees_headers_data_and_trailers(secure: bool, tmp_path: Path) -> None:
    listener = ANYWHERE
    if secure:
        tls = Authority(tmp_path).tls()
        listener = Listener(address=Address("127.0.0.1", 0), tls=tls)
    body = tmp_path / "body"
    body.write_bytes(message(b"hello"))
    with running_front("http2", listeners=[listener]) as front:
        url = f"{'https' if secure else 'http'}://127.0.0.1:{front.port}{UNARY}"
        done = subprocess.run(
            ["nghttp", "-nv", "--no-dep", *GRPC_HEADERS, "-d", str(body), url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ":status: 200" in done.stdout, done.stdout + done.stderr
    assert "grpc-status: 0" in done.stdout


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs h2load")
@pytest.mark.parametrize("kind", ["http2", "asyncio", "grpcio"])
def test_h2load_has_no_call_that_fails(kind: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(message(b"hello"))
    with running_front(kind) as front:
        many = ("-n", "2000", "-c", "4", "-m", "16")
        url = f"http://127.0.0.1:{front.port}{UNARY}"
        done = subprocess.run(
            ["h2load", *many, *GRPC_HEADERS, "-d", str(body), url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert "2000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout


def test_without_uvloop_asyncio_does(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = new_loop()
    assert type(loop).__module__ == "uvloop"
    loop.close()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_loop()
    assert type(loop).__module__.startswith("asyncio")
    loop.close()
