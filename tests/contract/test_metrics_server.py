"""What answers Prometheus."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from fogline.addresses import Address
from fogline.clock import wait_until
from fogline.errors import Conflict
from fogline_edge.serving.metrics_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MetricsServer

ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture
def address() -> Iterator[Address]:
    server = MetricsServer(ANYWHERE, lambda: "up 1\n")
    yield server.start()
    server.close()


def ask(address: Address, method: str, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_the_page_is_there_and_no_other(address: Address) -> None:
    kind = "text/plain; version=0.0.4; charset=utf-8"
    assert ask(address, "GET", "/metrics") == (200, kind, "up 1\n")
    assert ask(address, "GET", "/metrics?x=1")[0] == 200
    assert ask(address, "HEAD", "/metrics") == (200, kind, "")
    assert ask(address, "GET", "/../etc/passwd")[0] == 404
    assert ask(address, "POST", "/metrics")[0] == 405


def raw(address: Address, data: bytes) -> bytes:
    with socket.create_connection((address.host, address.port), timeout=10) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while part := peer.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"GET /metrics", b"\0" * 100, b"GET\r\n\r\n"])
def test_what_is_no_request_gets_nothing_or_an_error(address: Address, data: bytes) -> None:
    assert b" 200 " not in raw(address, data)
    assert ask(address, "GET", "/metrics")[0] == 200


def test_a_head_without_end_is_cut_off(address: Address) -> None:
    try:
        answer = raw(address, b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES)
    except OSError:  # closed while it was still being sent
        answer = b""
    assert answer == b""
    assert ask(address, "GET", "/metrics")[0] == 200


def test_connections_that_say_nothing_hold_up_only_so_many(address: Address) -> None:
    idle = [
        socket.create_connection((address.host, address.port), timeout=10)
        for _ in range(MAX_CONNECTIONS + 3)
    ]
    try:
        assert all(one.recv(1) == b"" for one in idle[MAX_CONNECTIONS:])
        idle.pop(0).close()
        assert wait_until(lambda: answers(address), timeout_s=10)
    finally:
        for one in idle:
            one.close()


def answers(address: Address) -> bool:
    try:
        return ask(address, "GET", "/metrics")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_fault_of_the_page_ends_that_answer_alone(caplog: pytest.LogCaptureFixture) -> None:
    pages = iter(["fault", "up 1\n"])

    def page() -> str:
        text = next(pages)
        if text == "fault":
            raise RuntimeError(text)
        return text

    server = MetricsServer(ANYWHERE, page)
    address = server.start()
    try:
        assert raw(address, b"GET /metrics HTTP/1.0\r\n\r\n") == b""
        assert ask(address, "GET", "/metrics")[2] == "up 1\n"
    finally:
        server.close()
    assert "no metrics" in caplog.text


def test_a_port_in_use_is_named(address: Address) -> None:
    with pytest.raises(Conflict, match=f"cannot listen on {address}"):
        MetricsServer(address, str).start()
