"""What gRPC adds to HTTP/2, as pure functions."""

import base64
import gzip
from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import Exhausted, FoglineError, InvalidInput, Unsupported
from fogline.wire.status import Status
from fogline_edge.serving.front.body import Body
from fogline_edge.serving.front.grpc import (
    accepts_gzip,
    compress,
    decompress,
    is_gzip,
    metadata_of,
    prefix,
    status_trailers,
    timeout_of,
)

LIMIT = 1000


@pytest.mark.parametrize(
    ("value", "timeout_s"),
    [
        (b"1S", 1.0),
        (b"20100m", 20.1),
        (b"0n", 0.0),
        (b"5u", 5e-6),
        (b"2M", 120.0),
        (b"3H", 10800.0),
        (b"99999999H", None),
    ],
)
def test_a_timeout_in_its_unit(value: bytes, timeout_s: float | None) -> None:
    assert timeout_of(value) == (timeout_s if timeout_s is None else pytest.approx(timeout_s))


@given(st.binary(max_size=12))
def test_any_timeout_is_read_or_refused(value: bytes) -> None:
    try:
        timeout_s = timeout_of(value)
    except InvalidInput:
        return
    assert timeout_s is None or timeout_s >= 0


@given(st.text(max_size=300))
def test_a_text_comes_back_from_its_percent_encoding(text: str) -> None:
    (_, code), (name, value) = status_trailers(Status.ABORTED, text)
    assert (code, name) == (b"10", b"grpc-message")
    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert unquote_to_bytes(value).decode() == text.encode(errors="replace").decode()


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c-bin", "grpc-x"]), st.binary(max_size=20)),
        max_size=8,
    ),
    st.booleans(),
)
def test_metadata_is_joined_in_its_order(pairs: list[tuple[str, bytes]], padded: bool) -> None:
    def sent(key: str, value: bytes) -> bytes:
        if not key.endswith("-bin"):
            return value
        encoded = base64.b64encode(value)
        return encoded if padded else encoded.rstrip(b"=")

    headers = [(key.encode(), sent(key, value)) for key, value in pairs]
    found = metadata_of([(b":path", b"/x"), (b"te", b"trailers"), *headers])
    for key in ("a", "b", "c-bin"):
        values = [value for name, value in pairs if name == key]
        if not values:
            assert key not in found
        elif key.endswith("-bin"):
            assert found[key] == b",".join(values)
        else:
            assert found[key] == b",".join(values).decode("latin-1")
    assert "grpc-x" not in found


def test_binary_metadata_that_is_not_base64_is_refused() -> None:
    with pytest.raises(InvalidInput, match="key-bin"):
        metadata_of([(b"key-bin", b"*")])


def test_encodings() -> None:
    assert not is_gzip(None)
    assert not is_gzip(b"identity")
    assert is_gzip(b"gzip")
    with pytest.raises(Unsupported, match="snappy"):
        is_gzip(b"snappy")
    assert accepts_gzip(b"identity, gzip,deflate")
    assert not accepts_gzip(b"identity,gzipped")
    assert not accepts_gzip(None)


@given(st.binary(max_size=2000))
def test_gzip_there_and_back_within_the_limit(data: bytes) -> None:
    assert gzip.decompress(compress(data)) == data
    if len(data) <= LIMIT:
        assert decompress(compress(data), LIMIT) == data
    else:
        with pytest.raises(Exhausted):
            decompress(compress(data), LIMIT)


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_decompressed_or_refused(data: bytes, at: int, byte: int) -> None:
    broken = bytearray(compress(data))
    broken[at % len(broken)] = byte
    for candidate in (bytes(broken), data):
        with suppress(FoglineError):
            assert len(decompress(candidate, LIMIT)) <= LIMIT


def body(*, streams: bool = True, is_gzip: bool = False) -> Body:
    return Body(
        "/a.B/C", streams=streams, is_gzip=is_gzip, limit=LIMIT, inflated=LIMIT // 2, now=0.0
    )


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Messages, and their frames cut anywhere."""
    messages = draw(st.lists(st.binary(max_size=60), max_size=8))
    data = b"".join(prefix(m) + m for m in messages)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return messages, [part for part in parts if part]


@given(pieces())
def test_messages_come_out_of_any_pieces(sent: tuple[list[bytes], list[bytes]]) -> None:
    messages, parts = sent
    request, got = body(), []
    for part in parts:
        request.add(part, 1.0)
        while request.messages:
            got.append(request.pop())
        assert request.held_bytes >= 0
    request.end()
    assert got == messages
    assert request.held_bytes == 0
    assert request.under_way_bytes is None


@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans(), st.booleans())
def test_any_bytes_are_cut_or_refused(parts: list[bytes], streams: bool, is_gzip: bool) -> None:
    request = body(streams=streams, is_gzip=is_gzip)
    try:
        for part in parts:
            if part:
                request.add(part, 1.0)
        request.end()
    except FoglineError:
        request.clear()
    assert request.held_bytes == sum(map(len, request.messages))


def test_a_length_beyond_the_bound_is_refused_before_it_comes() -> None:
    with pytest.raises(Exhausted, match="1001 bytes, at most 1000"):
        body().add(b"\0\0\0\x03\xe9", 1.0)


def test_what_was_compressed_has_a_bound_of_its_own() -> None:
    request = body(is_gzip=True)
    for size in (500, 501):
        data = compress(bytes(size))
        sent = prefix(data, compressed=True) + data
        if size == 500:
            request.add(sent, 1.0)
        else:
            with pytest.raises(Exhausted, match="500"):
                request.add(sent, 1.0)


def test_a_method_of_one_request_takes_one() -> None:
    with pytest.raises(Unsupported, match="none came"):
        body(streams=False).end()
    with pytest.raises(Unsupported, match="more came"):
        body(streams=False).add((prefix(b"a") + b"a") * 2, 1.0)


def test_the_time_of_a_message_under_way() -> None:
    request = body()
    request.add(prefix(b"ab") + b"a", 5.0)
    assert (request.since, request.under_way_bytes) == (5.0, 1)
    request.add(b"b", 9.0)
    assert (request.since, request.under_way_bytes) == (9.0, None)
    request.add(b"\0", 20.0)
    assert (request.since, request.under_way_bytes) == (20.0, 1)
