import pytest

from fogline.addresses import Address, parse_address, parse_listen_address
from fogline.errors import InvalidInput, Unsupported


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8001", Address("127.0.0.1", 8001)),
        ("localhost:0", Address("127.0.0.1", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("127.0.0.77:1", Address("127.0.0.77", 1)),
    ],
)
def test_loopback_addresses_are_read(text: str, address: Address) -> None:
    assert parse_listen_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", ":1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:٣",
     "example.org:80", "::1:80", "[127.0.0.1]:80", "127.0.0.1:1:2", "a" * 500 + ":1",
     "127.0.0.1:" + "9" * 9999],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_address(text)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"])
def test_an_address_beyond_loopback_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(Unsupported, match="identities and TLS"):
        parse_listen_address(text)
