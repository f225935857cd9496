"""Every call by its method: judged, decoded, answered, or queued for a model."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError, Message

from fogline.clock import Clock
from fogline.errors import FoglineError, InvalidInput, Unsupported
from fogline.wire.services import HEALTH_SERVICE, INFERENCE_SERVICE, METHODS, Method
from fogline_edge.serving.access import Access
from fogline_edge.serving.calls import Call
from fogline_edge.serving.control import Answer, Converse, LateAnswer
from fogline_edge.serving.health import Health
from fogline_edge.serving.inference import Inference, fail_call
from fogline_edge.serving.streams import InferStream

_LOG = logging.getLogger(__name__)

_INFER = f"/{INFERENCE_SERVICE}/ModelInfer"
_STREAM_INFER = f"/{INFERENCE_SERVICE}/ModelStreamInfer"
_WATCH = f"/{HEALTH_SERVICE}/Watch"


class Service:
    """What a front hands its calls to.

    Args:
        inference: Answers inference calls.
        health: Whether the server takes requests, and who watches that.
        access: Judges every call.
        answers: Handlers of unary methods by path.
        late_answers: Those that answer when something is done.
        conversations: Handlers of other streaming methods by path.
        clock: Time.
    """

    def __init__(
        self,
        inference: Inference,
        health: Health,
        access: Access,
        answers: Mapping[str, Answer],
        late_answers: Mapping[str, LateAnswer],
        conversations: Mapping[str, Converse],
        clock: Clock,
    ) -> None:
        self._inference = inference
        self._health = health
        self._check = access.check
        self._answers = MappingProxyType(dict(answers))
        self._late_answers = MappingProxyType(dict(late_answers))
        self._conversations = MappingProxyType(
            {
                _STREAM_INFER: self._stream_infer,
                _WATCH: self._watch,
                **conversations,
            }
        )
        self._clock = clock
        self.methods = frozenset(
            {_INFER, *self._answers, *self._late_answers, *self._conversations}
        )
        """Paths of all methods that are answered."""

    def handle(self, calls: Sequence[Call]) -> None:
        """Answers the calls of one poll, or sees to it that they will be; never raises."""
        if calls:
            check, begin = self._check, self._inference.begin
            arrived = self._clock.monotonic()
            arrived_us = int(self._clock.now().timestamp() * 1e6)
            for call in calls:
                try:
                    check(call)
                    if call.method == _INFER:
                        begin(call, arrived, arrived_us)
                    else:
                        self._route(call)
                except Exception as e:
                    fail_call(call, e)
        try:
            self._inference.flush()
        except Exception:  # the front must go on
            _LOG.exception("flush failed")

    def settle(self) -> None:
        """Does what can wait until the answers of a poll are on their way; never raises."""
        try:
            self._inference.settle()
        except Exception:  # the front must go on
            _LOG.exception("not settled")

    def _route(self, call: Call) -> None:
        converse = self._conversations.get(call.method)
        if converse is not None:
            converse(call)
            return
        if call.method not in self.methods:
            raise Unsupported(f"the method {call.method[:200]!r} is not served")
        message: Any = _decode(METHODS[call.method], call.message)
        late = self._late_answers.get(call.method)
        if late is not None:
            late(message, partial(_reply, call))
        else:
            call.finish(self._answers[call.method](message).SerializeToString())

    def _watch(self, call: Call) -> None:
        message: Any = _decode(METHODS[_WATCH], call.message)
        self._health.watch(call, message)

    def _stream_infer(self, call: Call) -> None:
        InferStream(call, self._begin_streamed, self._clock).start()

    def _begin_streamed(self, request: Call) -> None:
        now_us = int(self._clock.now().timestamp() * 1e6)
        try:
            self._inference.begin(request, self._clock.monotonic(), now_us)
        except Exception as e:
            fail_call(request, e)


def _reply(call: Call, answer: Message | FoglineError) -> None:
    if isinstance(answer, FoglineError):
        call.fail(answer)
    else:
        call.finish(answer.SerializeToString())


def _decode(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError:
        raise InvalidInput(
            f"{method.path}: the message is no {method.request.DESCRIPTOR.full_name}"
        ) from None
