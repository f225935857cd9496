"""The signer as a process: its socket, its clients, and what a hostile peer gets."""

import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline import errors
from fogline.clock import SystemClock, wait_until
from fogline.errors import Conflict, Corrupt, Forbidden, InvalidInput, Unavailable
from fogline.topics import down
from fogline.wire.auth import unseal
from fogline.wire.fleet_pb2 import Signed
from fogline_hub.delivery import Repository, sign_target
from fogline_hub.signer import SealItem, SignerClient, socket_path
from fogline_hub.signer.bounds import MAX_FRAME_BYTES, SignerBounds
from fogline_hub.signer.client import _error
from fogline_hub.signer.messages import Failed, decode_answer, decode_request
from fogline_hub.signer.server import SignerServer
from tests.signed_hubs import SignedHub, make_hub


def start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fogline_hub.signer", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"ready signer={socket_path(folder)}\n"
    return process


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    return process.returncode, stderr


@pytest.fixture
def hub(tmp_path: Path) -> SignedHub:
    return make_hub(tmp_path / "hub")


@pytest.fixture
def client(hub: SignedHub) -> Iterator[SignerClient]:
    """A client of a server in this process."""
    server = SignerServer(
        socket_path(hub.folder), hub.desk, SignerBounds(max_connections=4, frame_timeout_s=0.5)
    )
    made = SignerClient(socket_path(hub.folder), timeout_s=5)
    yield made
    made.close()
    server.close()


def test_seals_signs_and_publishes_through_the_process(hub: SignedHub) -> None:
    process = start(hub.folder)
    with closing(SignerClient(socket_path(hub.folder))) as client:
        up, down_key = client.device_keys("dev1")
        assert client.up_key("dev1") == up
        topic, payload = client.seal_down("dev1", "ack", b"body", 60)
        assert topic == down("dev1", "ack")
        message = unseal(Signed, payload, key=down_key, direction="down", topic=topic)
        assert message.body == b"body"
        repository = Repository(hub.folder / "tuf", client, SystemClock())
        path = "models/rain/1/manifest.json"
        proposed = sign_target(
            repository.current_targets(), hub.operator, path, b"{}", now=hub.clock.now()
        )
        assert [t.path for t in repository.publish_targets(proposed)] == [path]
    code, stderr = stop(process)
    assert code == 0
    assert up.hex() not in stderr
    assert not socket_path(hub.folder).exists()


def test_a_client_finds_a_restarted_signer_and_counters_grow_on(hub: SignedHub) -> None:
    first = start(hub.folder)
    with closing(SignerClient(socket_path(hub.folder))) as client:
        _, key = client.device_keys("dev1")

        def counter() -> int:
            topic, payload = client.seal_down("dev1", "ack", b"", 60)
            return unseal(Signed, payload, key=key, direction="down", topic=topic).counter

        before = counter()
        stop(first, signal.SIGKILL)
        second = start(hub.folder)
        assert counter() > before
        stop(second)


def test_a_second_signer_of_the_same_hub_ends(hub: SignedHub) -> None:
    process = start(hub.folder)
    second = subprocess.run(
        [sys.executable, "-m", "fogline_hub.signer", str(hub.folder)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 9
    assert "another signer" in second.stderr
    with closing(SignerClient(socket_path(hub.folder))) as client:
        client.up_key("dev1")
    stop(process)


def test_a_folder_without_keys_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fogline_hub.signer", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 3
    assert "hub init" in done.stderr


def test_a_signer_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is the hub running"):
        SignerClient(tmp_path / "none.sock", timeout_s=0.2).up_key("dev1")


def test_only_the_owner_can_reach_the_socket(hub: SignedHub, client: SignerClient) -> None:
    client.up_key("dev1")
    path = socket_path(hub.folder)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_refusals_arrive_as_the_errors_they_were(client: SignerClient) -> None:
    with pytest.raises(InvalidInput):
        client.seal_down("dev1", "ack", b"", 0)
    with pytest.raises(Forbidden):
        client.seal_down("dev1", "desired", b"\x08\xff\xff\xff\xff\xff\xff\x7f", 60)
    with pytest.raises(Corrupt):
        client.sign_online("timestamp", b"{}")
    with pytest.raises(InvalidInput):
        client.sign_auto(b"{}")


def test_every_error_crosses_the_socket() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.FoglineError):
            assert type(_error(Failed(fault=name, text="x"))) is kind
    assert type(_error(Failed(fault="SystemExit", text="x"))) is Unavailable
    assert type(_error(Failed(fault="__builtins__", text="x"))) is Unavailable


def test_large_batches_are_split(client: SignerClient) -> None:
    items = [SealItem(device=f"d{i}", kind="ack", body=b"x", ttl_s=5) for i in range(600)]
    sealed = client.seal_many(items)
    assert [topic for topic, _ in sealed] == [down(f"d{i}", "ack") for i in range(600)]


def test_threads_share_a_client(client: SignerClient) -> None:
    found: list[bool] = []

    def ask(device: str) -> None:
        key = client.up_key(device)
        found.append(all(client.up_key(device) == key for _ in range(50)))

    threads = [threading.Thread(target=ask, args=(f"d{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def connected(hub: SignedHub) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(5)
    made.connect(str(socket_path(hub.folder)))
    return made


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">I", MAX_FRAME_BYTES + 1),
        struct.pack(">I", 4_000_000_000),
        struct.pack(">I", 10) + b"short",
        b"\0",
    ],
)
def test_a_frame_out_of_bounds_or_unfinished_is_hung_up_on(
    hub: SignedHub, client: SignerClient, sent: bytes
) -> None:
    with closing(connected(hub)) as peer:
        peer.sendall(sent)
        assert peer.recv(1) == b""
    client.up_key("dev1")


def test_nonsense_gets_an_answer_and_the_next_request_too(
    hub: SignedHub, client: SignerClient
) -> None:
    with closing(connected(hub)) as peer:
        for body in (b"", b"\xc1", msgspec.msgpack.encode({"type": "no"})):
            peer.sendall(struct.pack(">I", len(body)) + body)
            length = struct.unpack(">I", peer.recv(4))[0]
            answer = decode_answer(peer.recv(length))
            assert isinstance(answer, Failed)
            assert answer.fault == "Corrupt"


def test_connections_beyond_the_bound_are_closed(hub: SignedHub, client: SignerClient) -> None:
    held = [connected(hub) for _ in range(4)]
    try:
        extra = connected(hub)
        assert extra.recv(1) == b""
        extra.close()
    finally:
        for one in held:
            one.close()

    def answers() -> bool:
        return len(client.up_key("dev1")) == 32

    assert wait_until(answers, timeout_s=5)


def test_two_servers_do_not_share_a_socket(hub: SignedHub, client: SignerClient) -> None:
    with pytest.raises(Conflict):
        SignerServer(socket_path(hub.folder), hub.desk)


@given(st.binary(max_size=200))
def test_decoding_returns_or_raises_corrupt(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(data)
        except Corrupt:
            continue
