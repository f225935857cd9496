"""GET requests to the one hub that this device enrolled with; owner of httpx on the device.

No redirect is followed, no proxy or other setting is taken from the environment, and a URL of
another origin is refused before a connection is made, whoever wrote it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from fogline.errors import InvalidInput, Unavailable, Unsupported, Untrusted
from fogline.http_errors import MAX_ERROR_BYTES, error_from

CONNECT_TIMEOUT_S = 10.0


def check_origin(url: str) -> str:
    """The origin of a hub's URL, without a path or a slash at its end.

    Raises:
        InvalidInput: not a URL of a hub.
        Unsupported: plain HTTP to another machine.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as e:
        raise InvalidInput(f"{url[:200]!r} is not a URL: {e}") from e
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url[:200]!r} is not a hub's URL; write http://127.0.0.1:PORT")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise InvalidInput(f"{url[:200]!r}: write scheme, host and port alone")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise Unsupported(f"{url[:200]!r}: plain HTTP reaches a hub on this machine only")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Answer:
    """A started answer: its status, headers and raw bytes."""

    def __init__(self, response: httpx.Response, url: str) -> None:
        self.status = response.status_code
        self.content_range = response.headers.get("Content-Range", "")
        self._response = response
        self._url = url

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            Unavailable: the connection broke, or was silent too long.
        """
        try:
            # Without a chunk size: httpx would drop what it gathers when the connection breaks.
            yield from self._response.iter_raw()
        except httpx.HTTPError as e:
            raise _unavailable(self._url, e) from e

    def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            Untrusted: it is longer than `limit` bytes.
            Unavailable: as `chunks`.
        """
        data = bytearray()
        for chunk in self.chunks():
            data += chunk
            if len(data) > limit:
                raise Untrusted(f"{self._url}: more than {limit} bytes came")
        return bytes(data)


class Origin:
    """The enrolled hub. Not thread-safe.

    Args:
        url: Its origin.
        secret: Bearer token; empty for none.
        read_timeout_s: Longest silence.
    """

    def __init__(self, url: str, *, secret: str = "", read_timeout_s: float = 30.0) -> None:
        self._url = check_origin(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "fogline-agent"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
        )

    @property
    def url(self) -> str:
        return self._url

    def path_of(self, url: str) -> str:
        """The path of a URL on this origin.

        Raises:
            Untrusted: it is of another origin.
        """
        if not url.startswith(f"{self._url}/"):
            raise Untrusted(
                f"{url[:200]!r} is not on {self._url}, the hub this device enrolled with"
            )
        return url[len(self._url) :]

    @contextmanager
    def get(self, path: str, *, start: int = 0) -> Iterator[Answer]:
        """A started answer of status 200, or 206 where `start` is above 0.

        Raises:
            Untrusted: the hub wants to send the device elsewhere.
            FoglineError: the hub's own refusal, by its status and text.
            Unavailable: it does not answer.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._stream("GET", path, headers=headers) as answer:
            yield answer

    def post_json(self, path: str, body: bytes, limit: int) -> bytes:
        """Sends one JSON body and reads the answer's, at most `limit` bytes; errors as `get`."""
        headers = {"Content-Type": "application/json"}
        with self._stream("POST", path, headers=headers, content=body) as answer:
            return answer.read(limit)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _stream(
        self, method: str, path: str, *, headers: dict[str, str], content: bytes | None = None
    ) -> Iterator[Answer]:
        url = f"{self._url}{path}"
        try:
            with self._client.stream(method, url, headers=headers, content=content) as response:
                answer = Answer(response, url)
                _check_status(answer, url)
                yield answer
        except httpx.HTTPError as e:
            raise _unavailable(url, e) from e


def _check_status(answer: Answer, url: str) -> None:
    if 300 <= answer.status < 400:
        raise Untrusted(f"{url}: the hub answers with a redirect, which is not followed")
    if answer.status not in (200, 206, 416):
        raise error_from(answer.status, answer.read(MAX_ERROR_BYTES), url)


def _unavailable(url: str, error: Exception) -> Unavailable:
    return Unavailable(f"{url}: {type(error).__name__}: {error}")
