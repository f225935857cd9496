"""`ModelStreamInfer`: many inference requests and answers on one call, in order.

Each request of a stream is one request like any other: it is stacked, counted and observed alone.
Answers go out in the order of their requests; one that fails is told in its answer's
`error_message` and the stream goes on, as the protocol has it. Both ways go as fast as the peer
reads: while it does not, nothing is sent and no request is taken. Requests without an answer, and
answers that wait for others or for the peer, count against the front's bounds on bytes.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from fogline.clock import Clock
from fogline.errors import FoglineError
from fogline.wire.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from fogline_edge.serving.calls import Call, Peer
from fogline_edge.serving.codec.fields import BYTES, scan

MAX_OPEN = 64
"""Requests of one stream without an answer."""
MAX_OPEN_BYTES = 16 * 1024 * 1024
"""Of requests without an answer and answers that wait, from which on no more requests are taken."""
MAX_ERROR_CHARS = 2000
"""Longest error text in an answer."""
MAX_ID_BYTES = 1024
"""Longest id of a request that is repeated in its refusal."""

_ID, _INPUTS = 3, 5
"""Numbers of the fields `id` and `inputs` of a request."""

Begin = Callable[[Call], None]
"""Sees to it that one request is answered; raises nothing."""


class InferStream:
    """One call of `ModelStreamInfer`, from its first request to its end."""

    def __init__(self, call: Call, begin: Begin, clock: Clock) -> None:
        self._call = call
        self._begin = begin
        self._clock = clock
        limit_s = call.deadline_s
        self._deadline = None if limit_s is None else clock.monotonic() + limit_s
        self._lock = threading.Lock()
        """Not held while the call is told something: that may end it, and comes back here."""
        self._open: deque[StreamedRequest] = deque()
        """Those whose answers are not sent."""
        self._open_bytes = 0
        self._told_bytes = 0
        """Of `_open_bytes`, what the call was told to hold."""
        self._is_waiting = False
        """A `take` is out."""
        self._is_sending = False
        """A thread sends answers; whatever it can send in the meantime it will."""
        self._is_blocked = False
        """Answers wait for the peer to read."""
        self._at_end = False
        self._is_over = False

    def start(self) -> None:
        self._call.when_ended(self._ended)
        self._pull()

    def deadline_s(self) -> float | None:
        """Seconds from now until the peer stops waiting."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - self._clock.monotonic())

    def answered(self, request: "StreamedRequest", answer: bytes) -> None:
        """Takes one answer, whenever it comes, and sends what can go."""
        with self._lock:
            self._open_bytes += len(answer) - len(request.message)
            request.message, request.answer = b"", answer
        self._send()

    def _send(self) -> None:
        """Sends answers in order as long as the peer reads; one thread at a time."""
        with self._lock:
            if self._is_sending:
                return
            self._is_sending = True
        while True:
            with self._lock:
                answer = self._pop()
                if answer is None:
                    self._is_sending = False
                    is_done = self._at_end and not self._open
                    waits = self._answer() is not None and not self._is_blocked
                    self._is_blocked |= waits
                    break
            self._tell()  # first: what is sent is counted there
            self._call.send(answer)
        self._tell()
        if is_done:
            self._call.finish(None)
            return
        if waits:
            self._call.when_writable(self._unblock)
        self._pull()

    def _answer(self) -> bytes | None:
        """The one whose turn it is, if it is there."""
        return self._open[0].answer if self._open else None

    def _pop(self) -> bytes | None:
        """The one that may go now."""
        answer = self._answer()
        if answer is None or not self._call.is_writable():
            return None
        self._open.popleft()
        self._open_bytes -= len(answer)
        return answer

    def _unblock(self) -> None:
        with self._lock:
            self._is_blocked = False
        self._send()

    def _tell(self) -> None:
        with self._lock:
            more = self._open_bytes - self._told_bytes
            self._told_bytes = self._open_bytes
        if more:
            self._call.hold(more)

    def _pull(self) -> None:
        """Asks for one more request, where there is room."""
        with self._lock:
            if self._is_waiting or self._at_end or self._is_over:
                return
            if len(self._open) >= MAX_OPEN or self._open_bytes >= MAX_OPEN_BYTES:
                return
            self._is_waiting = True
        self._call.when_writable(lambda: self._call.receive(self._take))

    def _take(self, message: bytes | None) -> None:
        if message is None:
            with self._lock:
                self._is_waiting, self._at_end = False, True
            self._send()
            return
        request = StreamedRequest(self, self._call, message)
        with self._lock:
            self._is_waiting = False
            self._open.append(request)
            self._open_bytes += len(message)
        self._tell()
        if not request.is_cancelled():
            self._begin(request)
        self._pull()

    def _ended(self) -> None:
        with self._lock:
            self._is_over = True
            left = [request for request in self._open if request.answer is None]
            self._open.clear()
        for request in left:
            request.give_up()


class StreamedRequest:
    """A `Call` for one request of a stream, answered in the stream."""

    def __init__(self, stream: InferStream, call: Call, message: bytes) -> None:
        self.method = call.method
        self.peer: Peer = call.peer
        self.deadline_s = stream.deadline_s()
        self.message = message
        self.answer: bytes | None = None
        self._stream = stream
        self._call = call
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._has_ended = False

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        return self._call.metadata

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

    def hold(self, more: int) -> None:
        self._call.hold(more)

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
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        self._stream.answered(self, answer)


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
                id_ = message[span.value : min(span.end, span.value + MAX_ID_BYTES + 1)]
                return id_.decode() if len(id_) <= MAX_ID_BYTES else ""
            if span.number >= _INPUTS:
                break
    except (FoglineError, UnicodeDecodeError):
        pass  # its error says what it is, and it has no id
    return ""
