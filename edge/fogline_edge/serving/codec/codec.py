"""The codec of one version: messages to requests, requests to arrays, outputs to answers."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from fogline.errors import InvalidInput
from fogline.schema import Schema
from fogline.tensors import Array
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving.codec.answers import AnswerWriter
from fogline_edge.serving.codec.layouts import Layouts
from fogline_edge.serving.codec.limits import CodecLimits
from fogline_edge.serving.codec.messages import MessageReader, Regions
from fogline_edge.serving.codec.request import Request, stack
from fogline_edge.serving.codec.target import target_of
from fogline_edge.serving.codec.weight import check_weight


class ModelCodec:
    """ModelInfer messages of one version. Safe to use from any thread.

    The common message is recognised by its bytes (`layouts`); all others are parsed by protobuf.
    Both give the same request or the same refusal.
    """

    def __init__(
        self,
        name: str,
        version: int,
        schema: Schema,
        *,
        regions: Regions | None = None,
        max_message_bytes: int = 64 * 1024 * 1024,
        limits: CodecLimits | None = None,
    ) -> None:
        """Makes a codec.

        Args:
            name: The model's, in answers and messages.
            version: The number.
            schema: What it takes and gives.
            regions: Shared memory; None where it is not served.
            max_message_bytes: Longest answer.
            limits: What a message may hold.
        """
        label = f"model {name}@{version}"
        self._label = label
        self._limits = limits or CodecLimits()
        self._layouts = Layouts(name, version, schema, self._limits)
        self._find = self._layouts.read
        self._messages = MessageReader(schema, label, regions, self._limits)
        self.write = AnswerWriter(
            name,
            version,
            schema,
            regions=regions,
            max_message_bytes=max_message_bytes,
            max_classes=self._limits.max_classes,
        ).write

    def read(self, message: bytes, arrived_us: int) -> Request:
        """Checks and reads one message.

        Args:
            message: A serialized `ModelInferRequest` whose `target_of` this version answers.
            arrived_us: Event time of a request that names none, Unix microseconds.

        Raises:
            InvalidInput: the message, a tensor or a parameter cannot be right, or a value lies
                outside the bounds that the schema declares.
            NotFound: an output is wanted that the model does not have, or a region that is not
                registered.
            Unsupported: a parameter or datatype that is not served.
        """
        request = self._find(message, arrived_us)
        return self._parse(message, arrived_us) if request is None else request

    def join(self, requests: Sequence[Request]) -> dict[str, Array]:
        """The inputs of requests of one form, one below the other in their order."""
        return stack(requests)

    def _parse(self, message: bytes, arrived_us: int) -> Request:
        check_weight(message, self._limits)
        try:
            parsed = ModelInferRequest.FromString(message)
        except DecodeError:
            raise InvalidInput("the message is no inference.ModelInferRequest") from None
        if (parsed.model_name, parsed.model_version) != target_of(message):
            raise InvalidInput(
                f"{self._label}: the message names its model or version twice, or not before the "
                "rest: give each once, first"
            )
        request = self._messages.read(parsed, arrived_us)
        self._layouts.learn(message, request)
        return request
