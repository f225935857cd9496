"""The operators' HTTP client; sole importer of httpx on the hub's side.

Every answer of status 400 or above becomes the error that the hub raised (`fogline.http_errors`).
A request is sent once: what an operator asked for must not happen twice unseen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from fogline.errors import Corrupt, DeadlineExceeded, InvalidInput, Unavailable
from fogline.http_errors import error_from
from fogline.records import canonical_json, decode_json
from fogline.trust import blob_url

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 330.0
"""Longest silence before an answer: a push is answered when the version is proven."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class HubClient:
    """Calls the hub at `url` with an operator's token; without one only what is open to all.

    Raises:
        InvalidInput: `url` is none, or `token` has characters that no token has.
    """

    def __init__(self, url: str, token: str) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as e:
            raise InvalidInput(f"{url[:200]!r} is not a hub's URL: {e}") from e
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidInput(f"{url[:200]!r} is not a hub's URL; write http://127.0.0.1:PORT")
        if not all(c.isascii() and c.isprintable() and c != " " for c in token):
            raise InvalidInput("the operator's token has characters that no token has")
        self._url = url
        self._http = httpx.Client(
            base_url=parsed,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, kind: type[T], **query: str | int) -> T:
        """What the hub answers to a GET, read as `kind`; raises `fogline.errors`."""
        return self._read(self._send("GET", path, params=query), kind, path)

    def post(self, path: str, body: object, kind: type[T]) -> T:
        """Sends a record, or bytes as they are; reads the answer as `kind`."""
        return self._read(self._send("POST", path, content=_content(body)), kind, path)

    def put(self, path: str, body: object, kind: type[T]) -> T:
        return self._read(self._send("PUT", path, content=_content(body)), kind, path)

    def get_bytes(self, path: str) -> bytes:
        return self._send("GET", path).content

    def has_blob(self, digest: str) -> bool:
        with self._mapped("HEAD", blob_url(digest)):
            answer = self._http.head(blob_url(digest))
        if answer.status_code == 404:
            return False
        self._check(answer, f"HEAD {blob_url(digest)}")
        return True

    def put_blob(self, digest: str, file: Path) -> None:
        """Uploads a file, streamed; the hub checks its digest."""
        try:
            with file.open("rb") as content:
                self._send("PUT", blob_url(digest), content=content)
        except OSError as e:
            raise InvalidInput(f"{file} cannot be read: {e.strerror}") from e

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        with self._mapped(method, path):
            answer = self._http.request(method, path, **arguments)
        self._check(answer, f"{method} {path}")
        return answer

    def _read(self, answer: httpx.Response, kind: type[T], path: str) -> T:
        if len(answer.content) > MAX_ANSWER_BYTES:
            raise Corrupt(f"{self._url}{path} answered over {MAX_ANSWER_BYTES} bytes")
        return decode_json(answer.content, kind, f"answer of {self._url}{path}")

    def _check(self, answer: httpx.Response, what: str) -> None:
        if answer.status_code >= 400:
            raise error_from(answer.status_code, answer.content, f"{what} of {self._url}")
        if answer.status_code >= 300:
            raise Corrupt(f"{what} of {self._url} was redirected; is this a hub?")

    @contextmanager
    def _mapped(self, method: str, path: str) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as e:
            raise Unavailable(
                f"no hub answers at {self._url} ({e}); is it running? See --hub and FOGLINE_HUB"
            ) from e
        except httpx.TimeoutException as e:
            raise DeadlineExceeded(f"{method} {path} of {self._url} took too long") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise Unavailable(f"{method} {path} of {self._url} failed: {e}") from e


def _content(body: object) -> bytes:
    return body if isinstance(body, bytes) else canonical_json(body)
