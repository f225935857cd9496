"""Who may call what, method by method."""

import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.clock import ManualClock
from fogline.errors import FoglineError, Forbidden, InvalidInput, NotFound, Unsupported
from fogline.records import convert
from fogline.wire.services import METHODS
from fogline_edge.serving.access import OVERFLOW_UID, RIGHT_OF, Access, AccessConfig
from fogline_edge.serving.calls import Peer
from fogline_edge.serving.tokens import MAX_TOKENS, Right, Token, read_tokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "0123456789abcdef" * 4
REFLECTION = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
INFER = "/inference.GRPCInferenceService/ModelInfer"
TCP = Peer(transport="tcp")
TLS = Peer(transport="tls", subject="device-1")


@dataclass
class Asked:
    """The part of a call that decides who may make it."""

    method: str
    peer: Peer = TCP
    metadata: dict[str, str | bytes] = field(default_factory=dict)


def token(name: str = "app", secret: str = SECRET, **parts: object) -> Token:
    return convert(
        {
            "name": name,
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "rights": ["repository"],
        }
        | parts,
        Token,
        "token",
    )


def bearer(secret: str = SECRET) -> dict[str, str | bytes]:
    return {"authorization": f"Bearer {secret}"}


def passes(access: Access, asked: Asked) -> bool:
    try:
        access.check(asked)  # type: ignore[arg-type]
    except Forbidden:
        return False
    return True


def test_every_method_asks_for_one_right() -> None:
    assert set(RIGHT_OF) - REFLECTION == set(METHODS) - REFLECTION
    assert set(RIGHT_OF) >= REFLECTION


@pytest.mark.parametrize("peer", [TCP, TLS])
def test_whoever_reaches_the_port_reads_infers_and_gives_feedback(peer: Peer) -> None:
    passed = {method for method in RIGHT_OF if passes(Access(), Asked(method, peer))}
    assert passed == {
        m for m, r in RIGHT_OF.items() if r in (Right.READ, Right.INFER, Right.FEEDBACK)
    }


def test_a_trusted_user_of_the_unix_socket_may_do_everything() -> None:
    access = Access(AccessConfig(control_uids=frozenset({4711}), require_token_for_infer=True))
    for method in RIGHT_OF:
        assert passes(access, Asked(method, Peer(transport="unix", uid=4711)))


def test_this_process_and_root_are_trusted_unless_others_are_named() -> None:
    for uid in (os.geteuid(), 0):
        assert passes(Access(), Asked(LOAD, Peer(transport="unix", uid=uid)))
    named = Access(AccessConfig(control_uids=frozenset({4711})))
    assert not passes(named, Asked(LOAD, Peer(transport="unix", uid=os.geteuid())))


def test_a_token_gives_its_rights_and_no_other() -> None:
    access = Access(tokens=(token(rights=["repository", "settings"]),))
    passed = {m for m in RIGHT_OF if passes(access, Asked(m, TCP, bearer()))}
    assert {RIGHT_OF[m] for m in passed} == set(Right) - {Right.MEMORY}


def test_with_tokens_for_inference_health_and_metadata_stay_open() -> None:
    access = Access(AccessConfig(require_token_for_infer=True), (token(rights=["infer"]),))
    assert {RIGHT_OF[m] for m in RIGHT_OF if passes(access, Asked(m))} == {Right.READ}
    assert passes(access, Asked(INFER, TCP, bearer()))
    assert not passes(access, Asked("/fogline.v1.Edge/Feedback", TCP, bearer()))


def test_the_scheme_is_read_in_any_case() -> None:
    access = Access(tokens=(token(),))
    assert passes(access, Asked(LOAD, TCP, {"authorization": f"bEARER {SECRET}"}))


def test_a_token_ends_when_its_time_is_over() -> None:
    clock = ManualClock(NOW)
    access = Access(tokens=(token(expires=NOW + timedelta(seconds=10)),), clock=clock)
    assert passes(access, Asked(LOAD, TCP, bearer()))
    clock.advance(10)
    with pytest.raises(Forbidden, match="'app' has expired"):
        access.check(Asked(LOAD, TCP, bearer()))  # type: ignore[arg-type]


def test_a_method_that_nobody_declared_is_not_served_to_anybody() -> None:
    trusted = Access(AccessConfig(control_uids=frozenset({1})))
    for method in ("/inference.GRPCInferenceService/Shutdown", "", "/", "x" * 100_000):
        with pytest.raises(Unsupported, match="is not served") as caught:
            trusted.check(Asked(method, Peer(transport="unix", uid=1)))  # type: ignore[arg-type]
        assert len(str(caught.value)) < 300


@given(st.one_of(st.text(), st.binary(), st.text().map("Bearer ".__add__)), st.booleans())
def test_no_header_is_more_than_refused(value: str | bytes, has_tokens: bool) -> None:
    access = Access(tokens=(token(),) if has_tokens else ())
    with pytest.raises(FoglineError) as caught:
        access.check(Asked(LOAD, TCP, {"authorization": value}))  # type: ignore[arg-type]
    assert type(caught.value) is Forbidden
    assert len(str(caught.value)) < 400


def test_a_refusal_says_what_to_do_and_never_repeats_the_secret() -> None:
    for metadata, words in ((bearer("y" * 64), "not known"), ({}, "Unix socket")):
        with pytest.raises(Forbidden, match=words) as caught:
            Access().check(Asked(LOAD, TCP, metadata))  # type: ignore[arg-type, unused-ignore]
        assert "right 'repository'" in str(caught.value)
        assert "yyyy" not in str(caught.value)


def test_the_kernels_word_for_strangers_is_never_trusted() -> None:
    with pytest.raises(InvalidInput, match="other user namespaces"):
        convert({"control_uids": [OVERFLOW_UID]}, AccessConfig, "access")


def save(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def entry(name: str, digest: str = "a" * 64, rest: str = "") -> str:
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest}"\nrights = ["infer"]\n{rest}\n'


def test_a_file_of_tokens_is_read(tmp_path: Path) -> None:
    text = entry("one") + entry("two", "b" * 64, "expires = 2027-01-01T00:00:00Z")
    one, two = read_tokens(save(tmp_path / "tokens.toml", text))
    assert one == Token(name="one", sha256="a" * 64, rights=frozenset({Right.INFER}))
    assert two.expires == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o660])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(Forbidden, match="chmod 0600"):
        read_tokens(save(tmp_path / "tokens.toml", entry("one"), mode))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens = 3", "Expected `array`"),
        (entry("one", "A" * 64), "sha256"),
        (entry("one", "a" * 63), "sha256"),
        (entry("one") + entry("one", "b" * 64), "same name"),
        (entry("one") + entry("two"), "same sha256"),
        (entry("one", rest="expires = 2027-01-01T00:00:00"), "timezone"),
        (entry("one", rest="token = 'plain'"), "unknown field `token`"),
        (entry("one").replace("infer", "root"), "root"),
        (entry("one").replace('"infer"', ""), "length >= 1"),
        ("[[tokens", "tokens.toml"),
        ("".join(entry(f"t{i}", f"{i:064x}") for i in range(MAX_TOKENS + 1)), "length <= 64"),
        ("#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_file_that_is_not_right_says_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_tokens(save(tmp_path / "tokens.toml", text))


def test_what_is_no_file_is_no_file_of_tokens(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_tokens(tmp_path / "missing.toml")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_tokens(tmp_path)
