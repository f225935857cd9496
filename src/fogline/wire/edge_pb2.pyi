from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedbackRequest(_message.Message):
    __slots__ = ("prediction_id", "actuals", "observed_at_us")
    class Actual(_message.Message):
        __slots__ = ("row", "int64_value", "double_value", "string_value", "bool_value")
        ROW_FIELD_NUMBER: _ClassVar[int]
        INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
        DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
        STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
        BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
        row: int
        int64_value: int
        double_value: float
        string_value: str
        bool_value: bool
        def __init__(self, row: _Optional[int] = ..., int64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bool_value: _Optional[bool] = ...) -> None: ...
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTUALS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    actuals: _containers.RepeatedCompositeFieldContainer[FeedbackRequest.Actual]
    observed_at_us: int
    def __init__(self, prediction_id: _Optional[str] = ..., actuals: _Optional[_Iterable[_Union[FeedbackRequest.Actual, _Mapping]]] = ..., observed_at_us: _Optional[int] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ("accepted", "duplicates")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    duplicates: int
    def __init__(self, accepted: _Optional[int] = ..., duplicates: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("device", "agent_version", "generation", "models", "outbox_pending", "metrics")
    class Model(_message.Message):
        __slots__ = ("name", "version", "variant", "digest", "state", "requests", "failures")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        VARIANT_FIELD_NUMBER: _ClassVar[int]
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        REQUESTS_FIELD_NUMBER: _ClassVar[int]
        FAILURES_FIELD_NUMBER: _ClassVar[int]
        name: str
        version: str
        variant: str
        digest: str
        state: str
        requests: int
        failures: int
        def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., variant: _Optional[str] = ..., digest: _Optional[str] = ..., state: _Optional[str] = ..., requests: _Optional[int] = ..., failures: _Optional[int] = ...) -> None: ...
    class OutboxPendingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PENDING_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    device: str
    agent_version: str
    generation: int
    models: _containers.RepeatedCompositeFieldContainer[StatusResponse.Model]
    outbox_pending: _containers.ScalarMap[str, int]
    metrics: _containers.ScalarMap[str, int]
    def __init__(self, device: _Optional[str] = ..., agent_version: _Optional[str] = ..., generation: _Optional[int] = ..., models: _Optional[_Iterable[_Union[StatusResponse.Model, _Mapping]]] = ..., outbox_pending: _Optional[_Mapping[str, int]] = ..., metrics: _Optional[_Mapping[str, int]] = ...) -> None: ...
