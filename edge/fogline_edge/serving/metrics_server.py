"""What answers Prometheus: HTTP/1.0 on a loopback port, one text, nothing else.

A page that is read every few seconds by one scraper does not need a web server's 2.5 MB; the whole
protocol is one request head, which is bounded in length and time, and one answer.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from fogline.addresses import Address
from fogline.errors import Conflict
from fogline_edge.serving.exposition import CONTENT_TYPE

MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 8
"""Open at once; more are closed unheard."""
HEAD_TIMEOUT_S = 5.0

_LOG = logging.getLogger(__name__)


class MetricsServer:
    """Answers `GET /metrics` on a thread of its own; starts once."""

    def __init__(self, address: Address, text: Callable[[], str]) -> None:
        """`text`: renders the page; called for each request on the server's thread."""
        self._address = address
        self._text = text
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._open = 0
        self._server: asyncio.Server | None = None

    def start(self) -> Address:
        """Listens; returns the address with its true port. Raises `Conflict` when it cannot."""
        begin = asyncio.start_server(
            self._answer, self._address.host, self._address.port, limit=MAX_HEAD_BYTES
        )
        try:
            self._server = self._loop.run_until_complete(begin)
        except OSError as e:
            self._loop.close()
            raise Conflict(f"cannot listen on {self._address}: {e.strerror or e}") from e
        port = int(self._server.sockets[0].getsockname()[1])
        self._thread.start()
        return Address(self._address.host, port)

    def close(self) -> None:
        """Ends within a moment, whoever is being answered."""
        if self._server is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        answers = asyncio.all_tasks() - {asyncio.current_task()}
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next round

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(HEAD_TIMEOUT_S):
                    writer.write(self._response(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was is not a scraper
        except Exception:  # a fault of ours ends this answer alone
            _LOG.exception("no metrics")
        finally:
            self._open -= 1
            writer.close()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _message("405 Method Not Allowed", "only GET\n", "Allow: GET, HEAD\r\n")
        if path != b"/metrics":
            return _message("404 Not Found", "see /metrics\n")
        message = _message("200 OK", self._text())
        return message if method == b"GET" else message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _message(status: str, text: str, more: str = "") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.0 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"{more}\r\n"
    )
    return head.encode() + body
