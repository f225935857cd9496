"""Trading a token for an identity, against a real HTTP server that answers as a hub, or lies."""

import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fogline.errors import (
    Conflict,
    Corrupt,
    FoglineError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
    Untrusted,
)
from fogline.identity import ENROLL_URL, parse_token
from fogline.records import canonical_json
from fogline_edge.install import load_identity
from fogline_edge.install.enroll import enroll
from tests.signed_hubs import Reply, SignedHub, make_hub, serving

SECRET = "s" * 32


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


def token(hub: SignedHub) -> str:
    return f"fl1.{SECRET}.{sha256(hub.root).hexdigest()}"


def test_a_token_becomes_an_identity_on_the_disk(hub: SignedHub, tmp_path: Path) -> None:
    device = tmp_path / "device"
    identity = enroll(hub.url, token(hub), "station", device)
    assert identity == hub.identity()
    assert load_identity(device) == identity
    assert device.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in device.iterdir()} == {0o600}
    (asked,) = hub.enrolled
    assert (asked.secret, asked.name) == (SECRET, "station")
    assert asked.root_sha256 == sha256(hub.root).hexdigest()


def test_a_lost_answer_is_asked_for_again_with_the_same_key(hub: SignedHub, tmp_path: Path) -> None:
    hub.replies[ENROLL_URL] = lambda body: Reply(body=body[:10], promised=len(body))
    with pytest.raises(Unavailable):
        enroll(hub.url, token(hub), "station", tmp_path / "device")
    hub.replies.clear()
    enroll(hub.url, token(hub), "station", tmp_path / "device")
    assert len({asked.device_key for asked in hub.enrolled}) == 1
    assert len(hub.enrolled) == 2


def test_an_enrolled_folder_gives_what_it_holds(hub: SignedHub, tmp_path: Path) -> None:
    first = enroll(hub.url, token(hub), "station", tmp_path / "device")
    assert enroll(hub.url, token(hub), "other-name", tmp_path / "device") == first
    assert len(hub.enrolled) == 1


def test_a_folder_of_another_hub_is_not_taken_over(hub: SignedHub, tmp_path: Path) -> None:
    enroll(hub.url, token(hub), "station", tmp_path / "device")
    with serving(make_hub(tmp_path / "other")) as other:
        with pytest.raises(Conflict, match="enrolled with"):
            enroll(other.url, token(other), "station", tmp_path / "device")
        assert other.enrolled == []


def test_a_hub_with_another_root_is_found_out(hub: SignedHub, tmp_path: Path) -> None:
    with (
        serving(make_hub(tmp_path / "impostor")) as impostor,
        pytest.raises(Untrusted, match="not the hub"),
    ):
        enroll(impostor.url, token(hub), "station", tmp_path / "device")
    assert not (tmp_path / "device" / "identity.json").exists()


def test_the_hub_does_not_say_where_it_is(hub: SignedHub, tmp_path: Path) -> None:
    lying = replace(hub.identity(), hub_url="http://elsewhere.example")
    hub.replies[ENROLL_URL] = lambda _: Reply(body=canonical_json(lying))
    assert enroll(hub.url, token(hub), "station", tmp_path / "device").hub_url == hub.url


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=403, body=b'{"error":"forbidden","message":"used up"}'), Forbidden),
        (Reply(status=503), Unavailable),
        (Reply(status=302, headers={"Location": "http://elsewhere.example"}), Untrusted),
        (Reply(body=b"{}"), Corrupt),
        (Reply(body=b"<html>"), Corrupt),
        (Reply(body=b" " * 2_000_000), Untrusted),
    ],
)
def test_an_answer_that_is_no_identity_enrols_nothing(
    hub: SignedHub, tmp_path: Path, reply: Reply, error: type[FoglineError]
) -> None:
    hub.replies[ENROLL_URL] = lambda _: reply
    with pytest.raises(error):
        enroll(hub.url, token(hub), "station", tmp_path / "device")
    assert not (tmp_path / "device" / "identity.json").exists()


def test_bad_arguments_are_named_before_anything_is_sent(hub: SignedHub, tmp_path: Path) -> None:
    device = tmp_path / "device"
    with pytest.raises(InvalidInput, match="token"):
        enroll(hub.url, "fl1.short", "station", device)
    with pytest.raises(InvalidInput, match="name"):
        enroll(hub.url, token(hub), "../x", device)
    with pytest.raises(Unsupported):
        enroll("http://192.0.2.1:80", token(hub), "station", device)
    assert hub.enrolled == []
    assert not device.exists()


def test_a_refused_token_does_not_show_in_the_error(hub: SignedHub, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        enroll(hub.url, f"fl1.{SECRET}.short", "station", tmp_path / "device")
    assert SECRET not in str(caught.value)


def test_an_identity_that_others_can_read_is_not_used(hub: SignedHub, tmp_path: Path) -> None:
    enroll(hub.url, token(hub), "station", tmp_path / "device")
    path = tmp_path / "device" / "identity.json"
    path.chmod(0o644)
    with pytest.raises(Forbidden, match="chmod 600"):
        load_identity(tmp_path / "device")
    path.chmod(0o600)
    path.write_bytes(b"{")
    with pytest.raises(Corrupt):
        load_identity(tmp_path / "device")
    with pytest.raises(NotFound, match="agent enroll"):
        load_identity(tmp_path)


def test_a_damaged_device_key_is_named(hub: SignedHub, tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "device.key").write_text("x")
    with pytest.raises(Corrupt, match=r"device\.key"):
        enroll(hub.url, token(hub), "station", tmp_path / "device")


@given(st.text(max_size=120))
def test_a_token_reads_or_is_refused(text: str) -> None:
    try:
        read = parse_token(text)
    except InvalidInput:
        return
    assert str(read) == text.strip()


def test_loading_an_identity_needs_no_httpx() -> None:
    code = "import sys, fogline_edge.install.identity_file; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
