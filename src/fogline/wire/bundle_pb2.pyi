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
    __slots__ = ("request", "response", "tolerances")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCES_FIELD_NUMBER: _ClassVar[int]
    request: _open_inference_pb2.ModelInferRequest
    response: _open_inference_pb2.ModelInferResponse
    tolerances: _containers.RepeatedCompositeFieldContainer[Tolerance]
    def __init__(self, request: _Optional[_Union[_open_inference_pb2.ModelInferRequest, _Mapping]] = ..., response: _Optional[_Union[_open_inference_pb2.ModelInferResponse, _Mapping]] = ..., tolerances: _Optional[_Iterable[_Union[Tolerance, _Mapping]]] = ...) -> None: ...

class Tolerance(_message.Message):
    __slots__ = ("output", "absolute", "relative")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    output: str
    absolute: float
    relative: float
    def __init__(self, output: _Optional[str] = ..., absolute: _Optional[float] = ..., relative: _Optional[float] = ...) -> None: ...
