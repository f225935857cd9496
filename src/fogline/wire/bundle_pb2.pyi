from fogline.wire import open_inference_pb2 as _open_inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GoldenCases(_message.Message):
    __slots__ = ("cases",)
    CASES_FIELD_NUMBER: _ClassVar[int]
    cases: _containers.RepeatedCompositeFieldContainer[GoldenCase]
    def __init__(self, cases: _Optional[_Iterable[_Union[GoldenCase, _Mapping]]] = ...) -> None: ...

class GoldenCase(_message.Message):
    __slots__ = ("request", "response")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    request: _open_inference_pb2.ModelInferRequest
    response: _open_inference_pb2.ModelInferResponse
    def __init__(self, request: _Optional[_Union[_open_inference_pb2.ModelInferRequest, _Mapping]] = ..., response: _Optional[_Union[_open_inference_pb2.ModelInferResponse, _Mapping]] = ...) -> None: ...
