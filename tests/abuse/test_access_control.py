"""Who tries to steer a server without the right to, over real connections."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from fogline.clock import ManualClock
from fogline.records import convert
from fogline.wire.services import METHODS
from fogline_edge.serving import Listener, Models, Server, ServingConfig
from fogline_edge.serving.access import RIGHT_OF, Access, AccessConfig
from fogline_edge.serving.calls import Endpoint
from fogline_edge.serving.front import FrontConfig
from fogline_edge.serving.tokens import Right, Token
from tests.serving import ANYWHERE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEERING = sorted(
    path
    for path, right in RIGHT_OF.items()
    if right in (Right.REPOSITORY, Right.MEMORY, Right.SETTINGS)
)
INDEX = "/inference.GRPCInferenceService/RepositoryIndex"
LOGS = "/inference.GRPCInferenceService/LogSettings"
LIVE = "/inference.GRPCInferenceService/ServerLive"
INFER = "/inference.GRPCInferenceService/ModelInfer"
SECRETS = {"a": "a" * 40, "b": "b" * 40, "late": "c" * 40}


def token(name: str, *rights: str, **parts: object) -> Token:
    digest = hashlib.sha256(SECRETS[name].encode()).hexdigest()
    return convert({"name": name, "sha256": digest, "rights": rights} | parts, Token, "token")


TOKENS = (
    token("a", "repository"),
    token("b", "settings", "infer"),
    token("late", "repository", "memory", "settings", expires=NOW - timedelta(seconds=1)),
)


@contextmanager
def listening(
    access: Access, *addresses: Path, kind: str = "http2"
) -> Iterator[tuple[Endpoint, ...]]:
    """A server without models, on a port and on Unix sockets."""
    listeners = (Listener(address=ANYWHERE), *(Listener(address=path) for path in addresses))
    config = ServingConfig(front=convert({"kind": kind}, FrontConfig, "front"))
    server = Server(listeners, Models(), access=access, config=config)
    try:
        yield server.start()
    finally:
        server.drain()


@pytest.fixture(params=["http2", "grpcio"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    access = Access(tokens=TOKENS, clock=ManualClock(NOW))
    with listening(access, kind=request.param) as (endpoint,):
        yield str(endpoint)


def status(
    address: str, method: str, authorization: str | None = None, data: bytes = b""
) -> tuple[str, str]:
    """The status and text of a call."""
    metadata: Sequence[tuple[str, str]] = ()
    if authorization is not None:
        metadata = (("authorization", authorization),)
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method)(data, metadata=metadata, timeout=20)
        except grpc.RpcError as e:
            return e.code().name, str(e.details())
    return "OK", ""


@pytest.mark.parametrize("method", STEERING)
def test_no_call_that_steers_is_taken_over_tcp(address: str, method: str) -> None:
    code, text = status(address, method)
    assert code == "PERMISSION_DENIED"
    assert "needs the right" in text


def test_there_are_calls_that_steer() -> None:
    assert len(STEERING) == 11
    assert set(STEERING) < set(METHODS)


def test_a_token_opens_what_it_was_given_for(address: str) -> None:
    assert status(address, INDEX, f"Bearer {SECRETS['a']}") == ("OK", "")
    assert status(address, LOGS, f"Bearer {SECRETS['b']}") == ("OK", "")


def test_a_token_does_not_open_what_anothers_does(address: str) -> None:
    for method, name in ((LOGS, "a"), (INDEX, "b")):
        code, text = status(address, method, f"Bearer {SECRETS[name]}")
        assert code == "PERMISSION_DENIED"
        assert f"the token of '{name}' does not have" in text


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        f"Bearer {'a' * 39}",
        f"Bearer {'a' * 41}",
        f"Bearer {'A' * 40}",
        f"Bearer  {'a' * 40}",
        f"Basic {'a' * 40}",
        f"Bearer {'a' * 40},Bearer {'b' * 40}",
        f"Bearer {hashlib.sha256(b'a' * 40).hexdigest()}",
        f"Bearer {SECRETS['late']}",
        "Bearer " + "a" * 8000,
    ],
)
def test_a_wrong_or_late_token_opens_nothing(address: str, authorization: str) -> None:
    assert status(address, INDEX, authorization)[0] == "PERMISSION_DENIED"
    assert status(address, LIVE, authorization)[0] == "OK"


def test_two_tokens_at_once_open_nothing(address: str) -> None:
    header = ("authorization", f"Bearer {SECRETS['a']}")
    with (
        grpc.insecure_channel(address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(INDEX)(b"", metadata=(header, header), timeout=20)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_huge_header_ends_its_own_call_alone(address: str) -> None:
    with grpc.insecure_channel(address, (("grpc.max_metadata_size", 2**20),)) as channel:
        metadata = (("authorization", "Bearer " + "a" * 200_000),)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INDEX)(b"", metadata=metadata, timeout=20)
        assert caught.value.code().name in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL")
    assert status(address, LIVE) == ("OK", "")


def test_a_secret_never_comes_back_in_an_error(address: str) -> None:
    _, text = status(address, INDEX, f"Bearer {'s3cret' * 10}")
    assert "s3cret" not in text


def test_an_unknown_method_is_unimplemented_for_everyone(address: str, tmp_path: Path) -> None:
    method = "/inference.GRPCInferenceService/Shutdown"
    assert status(address, method, f"Bearer {SECRETS['a']}")[0] == "UNIMPLEMENTED"
    with listening(Access(), tmp_path / "s") as (_, unix):
        assert status(str(unix), method)[0] == "UNIMPLEMENTED"


def test_with_tokens_for_inference_there_is_none_without() -> None:
    access = Access(AccessConfig(require_token_for_infer=True), TOKENS, clock=ManualClock(NOW))
    with listening(access) as (endpoint,):
        assert status(str(endpoint), INFER)[0] == "PERMISSION_DENIED"
        assert status(str(endpoint), LIVE)[0] == "OK"
        # Past the door: an empty request names no model.
        opened = status(str(endpoint), INFER, f"Bearer {SECRETS['b']}")[0]
        assert opened not in ("OK", "PERMISSION_DENIED")


def test_the_owner_steers_over_the_unix_socket(tmp_path: Path) -> None:
    with listening(Access(), tmp_path / "s") as (tcp, unix):
        assert status(str(unix), INDEX) == ("OK", "")
        assert status(str(tcp), INDEX)[0] == "PERMISSION_DENIED"


def test_another_user_of_the_unix_socket_does_not(tmp_path: Path) -> None:
    access = Access(AccessConfig(control_uids=frozenset({os.geteuid() + 1})))
    with listening(access, tmp_path / "s") as (_, unix):
        assert status(str(unix), INDEX)[0] == "PERMISSION_DENIED"
        assert status(str(unix), LIVE)[0] == "OK"


ANOTHER_USER = """
import os, sys, grpc
channel = grpc.insecure_channel(sys.argv[1])  # loads what another user may not read
os.setgid(65533)
os.setuid(65533)
try:
    channel.unary_unary(sys.argv[2])(b"", timeout=20)
except grpc.RpcError as e:
    print(e.code().name)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_kernel_says_who_calls() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "s"
        with listening(Access(), path) as (_, unix):
            path.chmod(0o666)
            done = subprocess.run(
                [sys.executable, "-c", ANOTHER_USER, str(unix), INDEX],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
    assert done.stdout.strip() == "PERMISSION_DENIED", done.stderr
