"""An HTTP/2 client that shows what gRPC's libraries hide: header blocks as they came."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import ngh2

from tests.fronts import REQUEST

Headers = dict[bytes, bytes]


@dataclass
class Response:
    """What came on one stream."""

    headers: Headers = field(default_factory=dict)
    data: bytes = b""
    trailers: Headers | None = None
    """None where the first header block ended the stream ("trailers-only"), or nothing did."""
    error_code: int = 0
    """Of the stream's end: 0 where nothing was reset."""

    @property
    def status(self) -> int:
        """`grpc-status`, wherever it stands."""
        return int((self.headers if self.trailers is None else self.trailers)[b"grpc-status"])


class Http2Client:
    """One connection; for one call at a time."""

    def __init__(self, port: int, *, chunk_bytes: int = 65_536) -> None:
        self._chunk_bytes = chunk_bytes
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._session = ngh2.Connection(ngh2.Role.CLIENT)
        self._session.initiate_connection()

    def call(self, data: bytes, **changes: str | bytes) -> Response:
        """`changes` replace or add headers, as in `tests.fronts.request`; several as `key__2`."""
        stream = self._session.send_request(list(_headers(changes)))
        self._session.send_data(stream, data, end_stream=True)
        return self._read(stream)

    def _read(self, stream: int) -> Response:
        found = Response()
        while True:
            self._socket.sendall(self._session.data_to_send())
            data = self._socket.recv(self._chunk_bytes)
            if not data:
                raise ConnectionError("the connection ended")
            self._session.receive_data(data)
            for event in self._session.events():
                match event:
                    case ngh2.ResponseReceived(_, headers, _):
                        found.headers = dict(headers)
                    case ngh2.DataReceived(_, part, _):
                        found.data += part
                    case ngh2.TrailersReceived(_, headers):
                        found.trailers = dict(headers)
                    case ngh2.StreamClosed(number, code, _) if number == stream:
                        found.error_code = code
                        return found
                    case _:
                        pass

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _headers(changes: Mapping[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    named = {
        (f":{key[2:]}" if key.startswith("p_") else key.replace("_", "-")): value
        for key, value in changes.items()
    }
    merged = {**REQUEST, **named}
    return [
        (key.partition("--")[0].encode(), value.encode() if isinstance(value, str) else value)
        for key, value in merged.items()
        if value != ""
    ]
