"""Where fronts listen: TCP, Unix sockets, TLS with and without client certificates, several."""

import os
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from fogline.addresses import Address
from fogline.clock import wait_until
from fogline.errors import Conflict, InvalidInput, Unsupported
from fogline_edge.serving.calls import Call, Listener, Tls
from tests.certificates import Authority
from tests.fronts import (
    ANYWHERE,
    DATA,
    PREFACE,
    SETTINGS,
    WINDOW,
    Channel,
    RawPeer,
    Running,
    Script,
    channel_to,
    failure_of,
    frame,
    front_of,
    message,
    running_front,
    whole_call,
)

KINDS = ["http2", "asyncio", "grpcio"]
LOOPS = ["http2", "asyncio"]
ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def secure_channel(
    address: str, authority: Authority, client: tuple[Path, Path] | None = None
) -> Iterator[Channel]:
    chain, key = (client[0].read_bytes(), client[1].read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes(), key, chain)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel: Any = grpc.secure_channel(address, credentials, options=options)
    try:
        yield Channel(channel)
    finally:
        channel.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_unix_socket_is_for_its_owner_and_group(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running_front(kind, listeners=[Listener(address=path)]) as front:
        assert front.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with channel_to(front.address) as one:
            assert one.call(b"x" * 100_000) == b"x" * 100_000
            peer = one.call(b"", "peer").decode()
    assert not path.exists()
    assert "transport='unix'" in peer
    if kind != "grpcio":
        assert f"uid={os.getuid()}, pid={os.getpid()}" in peer


@pytest.mark.parametrize("kind", KINDS)
def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with running_front(kind, listeners=[Listener(address=path)]) as front:
        with channel_to(front.address) as one:
            assert one.call(b"x") == b"x"
        with pytest.raises(Conflict, match="another server does"):
            front_of(kind, [Listener(address=path)]).start(Script())
        with channel_to(front.address) as one:
            assert one.call(b"x") == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_is_no_socket_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="is not a socket"):
        front_of(kind, [Listener(address=path)]).start(Script())
    assert path.read_text() == "precious"


@pytest.mark.parametrize("kind", LOOPS)
def test_a_path_too_long_for_a_socket_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        front_of(kind, [Listener(address=tmp_path / ("x" * 120))]).start(Script())


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_in_use_is_a_conflict_and_nothing_is_left_open(
    kind: str, tmp_path: Path
) -> None:
    with running_front(kind) as front:
        taken = Listener(address=Address("127.0.0.1", front.port))
        with pytest.raises(Conflict, match=str(front.port)):
            front_of(kind, [Listener(address=tmp_path / "s"), taken]).start(Script())
    with running_front(kind, listeners=[Listener(address=tmp_path / "s")]):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_several_listeners_answer_at_once(kind: str, tmp_path: Path, authority: Authority) -> None:
    listeners = [
        ANYWHERE,
        Listener(address=tmp_path / "s"),
        Listener(address=ANY_PORT, tls=authority.tls()),
    ]
    with running_front(kind, listeners=listeners) as front:
        plain, unix, secure = front.endpoints
        assert [e.is_secure for e in front.endpoints] == [False, False, True]
        with channel_to(str(plain)) as one, channel_to(str(unix)) as two:
            assert "transport='tcp'" in one.call(b"", "peer").decode()
            assert "transport='unix'" in two.call(b"", "peer").decode()
        with secure_channel(str(secure), authority) as three:
            assert "transport='tls'" in three.call(b"", "peer").decode()


@pytest.mark.parametrize("kind", KINDS)
def test_ipv6_is_listened_on(kind: str) -> None:
    with running_front(kind, listeners=[Listener(address=Address("::1", 0))]) as front:
        assert front.address.startswith("[::1]:")
        with channel_to(front.address) as one:
            assert one.call(b"x") == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_any_size_go_through_tls(kind: str, authority: Authority) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    with (
        running_front(kind, listeners=[listener]) as front,
        secure_channel(front.address, authority) as one,
    ):
        for size in (0, 1, 20_000, 3_000_000):
            assert one.call(b"x" * size) == b"x" * size
        assert [f.result(timeout=20) for f in [one.future(b"y") for _ in range(100)]] == [
            b"y"
        ] * 100


@pytest.mark.parametrize("kind", KINDS)
def test_with_client_certificates_nobody_else_is_let_in(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls(clients=authority.path))
    stranger = Authority(tmp_path, "stranger").sign("nobody")
    with running_front(kind, listeners=[listener]) as front:
        with secure_channel(front.address, authority, authority.sign("camera-7")) as one:
            assert "subject='camera-7'" in one.call(b"", "peer").decode()
        for client in (None, stranger):
            with secure_channel(front.address, authority, client) as one:
                assert failure_of(lambda one=one: one.call(b"x", timeout=5))[0] in (  # type: ignore[misc]
                    "UNAVAILABLE",
                    "DEADLINE_EXCEEDED",
                )


def client_context(authority: Authority, protocols: list[str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    if protocols is not None:
        context.set_alpn_protocols(protocols)
    return context


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("protocols", [None, ["http/1.1"]])
def test_tls_without_http2_is_closed(
    kind: str, protocols: list[str] | None, authority: Authority
) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    context = client_context(authority, protocols)
    with (
        running_front(kind, listeners=[listener]) as front,
        socket.create_connection(("127.0.0.1", front.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        suppress(OSError),
    ):  # a reset says the same
        assert wrapped.recv(100) == b""


@pytest.mark.parametrize("kind", LOOPS)
def test_tls_1_1_is_refused_and_http2_speaks_after_the_handshake(
    kind: str, authority: Authority
) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    with running_front(kind, listeners=[listener]) as front:
        with socket.create_connection(("127.0.0.1", front.port), timeout=20) as plain:
            context = client_context(authority, ["h2"])
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                assert wrapped.selected_alpn_protocol() == "h2"
                wrapped.sendall(PREFACE + frame(SETTINGS) + whole_call(1))
                got = b""
                while frame(DATA, 0, 1, message(b"hello")) not in got:
                    got += wrapped.recv(4096)
        assert wait_until(lambda: front.front.counts().connections == 0, timeout_s=10)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_handshake_that_does_not_come_on_is_given_up(kind: str, authority: Authority) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    with running_front(kind, listeners=[listener], handshake_timeout_s=0.2) as front:
        silent = socket.create_connection(("127.0.0.1", front.port), timeout=20)
        with silent, suppress(ConnectionError):
            assert silent.recv(100) == b""
        with socket.create_connection(("127.0.0.1", front.port), timeout=20) as loud:
            loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                while loud.recv(100):
                    pass
        assert wait_until(lambda: front.front.counts().faulted_connections == 2, timeout_s=10)
        with secure_channel(front.address, authority) as one:
            assert one.call(b"x") == b"x"


@pytest.mark.parametrize("kind", LOOPS)
def test_certificates_that_cannot_be_used_are_named(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    good = authority.tls()
    other = Authority(tmp_path, "other").sign("other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for bad in (
        replace(good, certificate=tmp_path / "missing"),
        replace(good, key=junk),
        replace(good, key=other[1]),
        replace(good, clients=junk),
        replace(good, clients=tmp_path / "missing"),
    ):
        with pytest.raises(InvalidInput, match="TLS: "):
            front_of(kind, [Listener(address=ANY_PORT, tls=bad)]).start(Script())


def serial_of(front: Running, authority: Authority) -> str:
    """Of the certificate that a new connection is shown."""
    context = client_context(authority, ["h2"])
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return str((wrapped.getpeercert() or {})["serialNumber"])


@pytest.mark.parametrize("kind", LOOPS)
def test_responses_that_nobody_reads_are_bounded_under_tls_too(
    kind: str, authority: Authority
) -> None:
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    bounds: dict[str, Any] = {"max_connection_bytes": 10_000_000, "stalled_timeout_s": 0.5}
    with (
        running_front(kind, listeners=[listener], **bounds) as front,
        socket.create_connection(("127.0.0.1", front.port), timeout=20) as plain,
        client_context(authority, ["h2"]).wrap_socket(
            plain, server_hostname="127.0.0.1"
        ) as wrapped,
    ):
        wide = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**30))
        wrapped.sendall(PREFACE + wide + frame(WINDOW, 0, 0, struct.pack(">I", 2**30)))
        for stream in range(1, 101, 2):
            wrapped.sendall(whole_call(stream, b"1000000", do="big"))
        assert wait_until(lambda: front.front.counts().refused_calls > 30, timeout_s=10)
        assert front.front.counts().held_bytes <= 10_000_000
        assert wait_until(lambda: front.front.counts().connections == 0, timeout_s=10)
        assert front.front.counts().held_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_that_is_replaced_is_taken_up_by_new_connections(
    kind: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    listener = Listener(address=ANY_PORT, tls=authority.tls())
    with (
        running_front(kind, listeners=[listener]) as front,
        secure_channel(front.address, authority) as old,
    ):
        assert old.call(b"x") == b"x"
        first = serial_of(front, authority)
        authority.sign("server")  # over the same files
        assert wait_until(lambda: serial_of(front, authority) != first, timeout_s=10)
        assert old.call(b"x") == b"x"
        with secure_channel(front.address, authority) as new:
            assert new.call(b"x") == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_while_a_new_pair_does_not_fit_the_last_one_serves_on(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls()
    _, other = authority.sign("other")
    with running_front(kind, listeners=[Listener(address=ANY_PORT, tls=tls)]) as front:
        first = serial_of(front, authority)
        tls.key.write_bytes(other.read_bytes())
        serials = set()

        def is_told() -> bool:
            serials.add(serial_of(front, authority))
            return "do not fit" in caplog.text

        assert wait_until(is_told, timeout_s=10)
        assert serials == {first}
        authority.sign("server")
        assert wait_until(lambda: serial_of(front, authority) != first, timeout_s=10)


@pytest.mark.parametrize("kind", KINDS)
def test_other_authorities_of_clients_are_taken_up(kind: str, tmp_path: Path) -> None:
    authority, clients = Authority(tmp_path), Authority(tmp_path, "clients")
    tls = authority.tls(clients=clients.path)
    with running_front(kind, listeners=[Listener(address=ANY_PORT, tls=tls)]) as front:
        with secure_channel(front.address, authority, clients.sign("one")) as one:
            assert one.call(b"x") == b"x"
        stranger = Authority(tmp_path, "stranger")
        client = stranger.sign("two")
        stranger.path.replace(clients.path)

        def is_let_in() -> bool:
            with secure_channel(front.address, authority, client) as two:
                try:
                    return two.call(b"x", timeout=5) == b"x"
                except grpc.RpcError:
                    return False

        assert wait_until(is_let_in, timeout_s=20)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_drain_answers_all_who_have_knocked(kind: str) -> None:
    """Connections that the system has made and the front has not accepted are calls in flight."""
    go_on = threading.Event()
    front, script = front_of(kind, [ANYWHERE]), Script()

    def on_ready(calls: Sequence[Call]) -> None:
        if not script.seen:
            go_on.wait(20)
        script(calls)

    (endpoint,) = front.start(on_ready)
    assert isinstance(endpoint.address, Address)
    peers = [RawPeer(endpoint.address.port, greets=False) for _ in range(1)]
    peers[0].send(PREFACE + frame(SETTINGS) + whole_call(1))
    for _ in range(250):
        peers.append(RawPeer(endpoint.address.port, greets=False))
        peers[-1].send(PREFACE + frame(SETTINGS) + whole_call(1))
    draining = threading.Thread(target=front.drain, args=(20,))
    draining.start()
    go_on.set()
    for peer in peers:
        answered = [f.payload for f in peer.end_of(1) if f.kind == DATA]
        peer.close()
        assert answered == [message(b"hello")]
    draining.join(20)
    assert not draining.is_alive()


def test_nothing_is_reached_from_other_machines_without_identities(tmp_path: Path) -> None:
    tls = Tls(certificate=tmp_path / "c", key=tmp_path / "k")
    for plain in (None, tls):
        with pytest.raises(Unsupported, match="other machines"):
            Listener(address=Address("0.0.0.0", 0), tls=plain)
    Listener(address=Address("0.0.0.0", 0), tls=replace(tls, clients=tmp_path / "ca"))


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_a_new_server_takes_over_and_no_call_fails(kind: str, where: str, tmp_path: Path) -> None:
    """Calls go on while one server follows another. grpcio's own drain fails some now and then."""
    first = Listener(address=tmp_path / "s") if where == "unix" else ANYWHERE
    stop = threading.Event()
    failures: list[str] = []
    done = [0]

    def ask(address: str) -> None:
        with channel_to(address) as one:
            while not stop.is_set():
                try:
                    assert one.call(b"x", "thread", wait_for_ready=True) == b"x"
                    done[0] += 1
                except grpc.RpcError as e:
                    failures.append(str(e))

    with running_front(kind, listeners=[first], take_over=True) as old:
        endpoint = old.endpoints[0]
        askers = [threading.Thread(target=ask, args=(old.address,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        assert wait_until(lambda: done[0] > 50, timeout_s=20)
        again = Listener(address=endpoint.address)
        with running_front(kind, listeners=[again], take_over=True) as new:
            old.front.drain(20)
            before = done[0]
            assert wait_until(lambda: done[0] > before + 50, timeout_s=20)
            assert len(new.script.seen) >= 50
            stop.set()
            for asker in askers:
                asker.join()
    assert failures == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_wants_to_know_is_told_after_each_answer(kind: str) -> None:
    """Also of the last answers before a drain, and a fault in it hurts nobody."""
    front, script, told = front_of(kind, [ANYWHERE]), Script(), []

    def on_written() -> None:
        told.append(len(script.seen))
        if kind != "grpcio" and len(told) == 1:
            raise RuntimeError("a fault of ours")

    (endpoint,) = front.start(script, on_written)
    with channel_to(str(endpoint)) as one:
        for _ in range(3):
            assert one.call(b"x") == b"x"
        front.drain(5)
    assert told[-1] == 3
    assert len(told) >= 3
