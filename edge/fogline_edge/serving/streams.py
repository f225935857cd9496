"""`ModelStreamInfer`: many inference requests and answers on one call, in order.

Each request of a stream is one request like any other: it is stacked, counted and observed alone.
Answers go out in the order of their requests; one that fails is told in its answer's
`error_message` and the stream goes on, as the protocol has it. The stream's requests are taken as
fast as the peer reads its answers, and at most `MAX_OPEN` at once.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from fogline.errors import FoglineError
from fogline.wire.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from fogline_edge.serving.calls import Call, Peer
from fogline_edge.serving.codec.fields import BYTES, scan

MAX_OPEN = 64
"""Requests of one stream without an answer."""
MAX_ERROR_CHARS = 2000
"""Longest error text in an answer."""

_ID, _INPUTS = 3, 5
"""Numbers of the fields `id` and `inputs` of a request."""

Begin = Callable[[Call], None]
"""Sees to it that one request is answered; raises nothing."""


class InferStream:
    """One call of `ModelStreamInfer`, from its first request to its end."""

    def __init__(self, call: Call, begin: Begin) -> None:
        self._call = call
        self._begin = begin
        # Reentrant: a `send` that ends the call comes back here as `_ended`.
        self._lock = threading.RLock()
        self._open: deque[StreamedRequest] = deque()
        self._is_waiting = False
        """A `take` is out."""
        self._at_end = False
        self._is_over = False

    def start(self) -> None:
        self._call.when_ended(self._ended)
        self._pull()

    def answered(self) -> None:
        """Sends what can go in order, and asks for more requests where there is room again."""
        with self._lock:
            while self._open and self._open[0].answer is not None:
                answer = self._open.popleft().answer
                if answer is not None and not self._is_over:
                    self._call.send(answer)
            is_done = self._at_end and not self._open
        if is_done:
            self._call.finish(None)
        else:
            self._pull()

    def _pull(self) -> None:
        with self._lock:
            if self._is_waiting or self._at_end or self._is_over or len(self._open) >= MAX_OPEN:
                return
            self._is_waiting = True
        self._call.when_writable(lambda: self._call.receive(self._take))

    def _take(self, message: bytes | None) -> None:
        with self._lock:
            self._is_waiting = False
            if message is None:
                self._at_end = True
            else:
                request = StreamedRequest(self, self._call, message)
                self._open.append(request)
        if message is None:
            self.answered()
            return
        self._begin(request)
        self._pull()

    def _ended(self) -> None:
        with self._lock:
            self._is_over = True
            left = [request for request in self._open if request.answer is None]
        for request in left:
            request.give_up()


class StreamedRequest:
    """A `Call` for one request of a stream, answered in the stream."""

    def __init__(self, stream: InferStream, call: Call, message: bytes) -> None:
        self.method = call.method
        self.peer: Peer = call.peer
        self.metadata: Mapping[str, str | bytes] = call.metadata
        self.deadline_s = call.deadline_s
        self.message = message
        self.answer: bytes | None = None
        self._stream = stream
        self._call = call
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._has_ended = False

    def is_cancelled(self) -> bool:
        return self._has_ended or self._call.is_cancelled()

    def when_ended(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self._has_ended:
                self._callbacks.append(callback)
                return
        callback()

    def is_writable(self) -> bool:
        return self._call.is_writable()

    def when_writable(self, callback: Callable[[], None]) -> None:
        self._call.when_writable(callback)

    def send(self, response: bytes) -> None:
        self.finish(response)

    def receive(self, take: Callable[[bytes | None], None]) -> None:
        take(None)

    def finish(self, response: bytes | None) -> None:
        self._end(_streamed(response or b""))

    def fail(self, error: FoglineError) -> None:
        if self._has_ended:
            return
        request = _id_of(self.message)
        self._end(
            ModelStreamInferResponse(
                error_message=str(error)[:MAX_ERROR_CHARS],
                infer_response=ModelInferResponse(id=request),
            ).SerializeToString()
        )

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._end(b"")

    def _end(self, answer: bytes) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            self.answer = answer
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        self._stream.answered()


def _streamed(response: bytes) -> bytes:
    """A `ModelStreamInferResponse` around an encoded `ModelInferResponse` (field 2)."""
    size, head = len(response), bytearray(b"\x12")
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + response


def _id_of(message: bytes) -> str:
    """The id of a request that was refused: looked for, not parsed, since nothing bounds it yet."""
    try:
        for span in scan(message):
            if span.number == _ID and span.kind == BYTES:
                return message[span.value : span.end].decode()
            if span.number >= _INPUTS:
                break
    except (FoglineError, UnicodeDecodeError):
        pass  # its error says what it is, and it has no id
    return ""
