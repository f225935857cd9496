from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClockQuality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOCK_UNKNOWN: _ClassVar[ClockQuality]
    CLOCK_UNSET: _ClassVar[ClockQuality]
    CLOCK_FLOOR: _ClassVar[ClockQuality]
    CLOCK_CONFIRMED: _ClassVar[ClockQuality]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNKNOWN: _ClassVar[ModelState]
    FETCHING: _ClassVar[ModelState]
    QUALIFYING: _ClassVar[ModelState]
    ACTIVE: _ClassVar[ModelState]
    REJECTED: _ClassVar[ModelState]
    FAILED: _ClassVar[ModelState]
CLOCK_UNKNOWN: ClockQuality
CLOCK_UNSET: ClockQuality
CLOCK_FLOOR: ClockQuality
CLOCK_CONFIRMED: ClockQuality
MODEL_STATE_UNKNOWN: ModelState
FETCHING: ModelState
QUALIFYING: ModelState
ACTIVE: ModelState
REJECTED: ModelState
FAILED: ModelState

class Stamp(_message.Message):
    __slots__ = ("boot_id", "monotonic_us", "wall_us", "quality")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_US_FIELD_NUMBER: _ClassVar[int]
    WALL_US_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    monotonic_us: int
    wall_us: int
    quality: ClockQuality
    def __init__(self, boot_id: _Optional[str] = ..., monotonic_us: _Optional[int] = ..., wall_us: _Optional[int] = ..., quality: _Optional[_Union[ClockQuality, str]] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("outbox_id", "stream", "seq", "floor", "stamp", "body", "mac")
    OUTBOX_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    outbox_id: str
    stream: str
    seq: int
    floor: int
    stamp: Stamp
    body: bytes
    mac: bytes
    def __init__(self, outbox_id: _Optional[str] = ..., stream: _Optional[str] = ..., seq: _Optional[int] = ..., floor: _Optional[int] = ..., stamp: _Optional[_Union[Stamp, _Mapping]] = ..., body: _Optional[bytes] = ..., mac: _Optional[bytes] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("model", "version", "variant", "generation", "window_start_us", "window_us")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_US_FIELD_NUMBER: _ClassVar[int]
    WINDOW_US_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    variant: str
    generation: int
    window_start_us: int
    window_us: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., variant: _Optional[str] = ..., generation: _Optional[int] = ..., window_start_us: _Optional[int] = ..., window_us: _Optional[int] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("scope", "requests", "failures", "rows", "first_event_us", "last_event_us", "inputs", "outputs", "confusion", "latency")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FIRST_EVENT_US_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_US_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    requests: int
    failures: int
    rows: int
    first_event_us: int
    last_event_us: int
    inputs: _containers.RepeatedCompositeFieldContainer[FieldSummary]
    outputs: _containers.RepeatedCompositeFieldContainer[FieldSummary]
    confusion: Confusion
    latency: Latency
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., requests: _Optional[int] = ..., failures: _Optional[int] = ..., rows: _Optional[int] = ..., first_event_us: _Optional[int] = ..., last_event_us: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[FieldSummary, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[FieldSummary, _Mapping]]] = ..., confusion: _Optional[_Union[Confusion, _Mapping]] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ...) -> None: ...

class FieldSummary(_message.Message):
    __slots__ = ("name", "missing", "bins", "sum", "sum_squares", "minimum", "maximum", "categories")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    SUM_SQUARES_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    missing: int
    bins: _containers.RepeatedScalarFieldContainer[int]
    sum: float
    sum_squares: float
    minimum: float
    maximum: float
    categories: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., missing: _Optional[int] = ..., bins: _Optional[_Iterable[int]] = ..., sum: _Optional[float] = ..., sum_squares: _Optional[float] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., categories: _Optional[_Iterable[int]] = ...) -> None: ...

class Confusion(_message.Message):
    __slots__ = ("labels", "counts", "unlabelled_values")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    UNLABELLED_VALUES_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    counts: _containers.RepeatedScalarFieldContainer[int]
    unlabelled_values: int
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., counts: _Optional[_Iterable[int]] = ..., unlabelled_values: _Optional[int] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("buckets",)
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("scope", "prediction_ids", "row_in_request", "event_us", "inclusion_probability", "inputs", "outputs", "policy")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_IDS_FIELD_NUMBER: _ClassVar[int]
    ROW_IN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EVENT_US_FIELD_NUMBER: _ClassVar[int]
    INCLUSION_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    prediction_ids: _containers.RepeatedScalarFieldContainer[str]
    row_in_request: _containers.RepeatedScalarFieldContainer[int]
    event_us: _containers.RepeatedScalarFieldContainer[int]
    inclusion_probability: _containers.RepeatedScalarFieldContainer[float]
    inputs: _containers.RepeatedCompositeFieldContainer[Column]
    outputs: _containers.RepeatedCompositeFieldContainer[Column]
    policy: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., prediction_ids: _Optional[_Iterable[str]] = ..., row_in_request: _Optional[_Iterable[int]] = ..., event_us: _Optional[_Iterable[int]] = ..., inclusion_probability: _Optional[_Iterable[float]] = ..., inputs: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., policy: _Optional[str] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "datatype", "width", "fp32", "fp64", "int64", "raw", "flags")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FP32_FIELD_NUMBER: _ClassVar[int]
    FP64_FIELD_NUMBER: _ClassVar[int]
    INT64_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    width: int
    fp32: _containers.RepeatedScalarFieldContainer[float]
    fp64: _containers.RepeatedScalarFieldContainer[float]
    int64: _containers.RepeatedScalarFieldContainer[int]
    raw: _containers.RepeatedScalarFieldContainer[bytes]
    flags: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., width: _Optional[int] = ..., fp32: _Optional[_Iterable[float]] = ..., fp64: _Optional[_Iterable[float]] = ..., int64: _Optional[_Iterable[int]] = ..., raw: _Optional[_Iterable[bytes]] = ..., flags: _Optional[_Iterable[bool]] = ...) -> None: ...

class Feedbacks(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("prediction_id", "row", "model", "version", "event_us", "observed_us", "int64_value", "double_value", "string_value", "bool_value")
        PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
        ROW_FIELD_NUMBER: _ClassVar[int]
        MODEL_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        EVENT_US_FIELD_NUMBER: _ClassVar[int]
        OBSERVED_US_FIELD_NUMBER: _ClassVar[int]
        INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
        DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
        STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
        BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
        prediction_id: str
        row: int
        model: str
        version: int
        event_us: int
        observed_us: int
        int64_value: int
        double_value: float
        string_value: str
        bool_value: bool
        def __init__(self, prediction_id: _Optional[str] = ..., row: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., event_us: _Optional[int] = ..., observed_us: _Optional[int] = ..., int64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bool_value: _Optional[bool] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Feedbacks.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Feedbacks.Item, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Reported(_message.Message):
    __slots__ = ("generation", "models", "agent_version", "stamp", "want_desired", "counter", "profile", "metrics", "outbox_id", "mac")
    class Model(_message.Message):
        __slots__ = ("name", "version", "digest", "variant", "state", "reason")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        VARIANT_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        name: str
        version: int
        digest: str
        variant: str
        state: ModelState
        reason: str
        def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., variant: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., reason: _Optional[str] = ...) -> None: ...
    class ProfileEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    WANT_DESIRED_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    generation: int
    models: _containers.RepeatedCompositeFieldContainer[Reported.Model]
    agent_version: str
    stamp: Stamp
    want_desired: bool
    counter: int
    profile: _containers.ScalarMap[str, str]
    metrics: _containers.ScalarMap[str, int]
    outbox_id: str
    mac: bytes
    def __init__(self, generation: _Optional[int] = ..., models: _Optional[_Iterable[_Union[Reported.Model, _Mapping]]] = ..., agent_version: _Optional[str] = ..., stamp: _Optional[_Union[Stamp, _Mapping]] = ..., want_desired: _Optional[bool] = ..., counter: _Optional[int] = ..., profile: _Optional[_Mapping[str, str]] = ..., metrics: _Optional[_Mapping[str, int]] = ..., outbox_id: _Optional[str] = ..., mac: _Optional[bytes] = ...) -> None: ...

class Signed(_message.Message):
    __slots__ = ("body", "counter", "expires_us", "mac")
    BODY_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_US_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    counter: int
    expires_us: int
    mac: bytes
    def __init__(self, body: _Optional[bytes] = ..., counter: _Optional[int] = ..., expires_us: _Optional[int] = ..., mac: _Optional[bytes] = ...) -> None: ...

class Desired(_message.Message):
    __slots__ = ("generation", "digest", "document", "url")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    generation: int
    digest: str
    document: bytes
    url: str
    def __init__(self, generation: _Optional[int] = ..., digest: _Optional[str] = ..., document: _Optional[bytes] = ..., url: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("outbox_id", "stream", "contiguous_to", "ranges", "quarantined", "hub_time_us")
    class Range(_message.Message):
        __slots__ = ("first", "last")
        FIRST_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        first: int
        last: int
        def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...
    class Quarantined(_message.Message):
        __slots__ = ("seq", "reason")
        SEQ_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        seq: int
        reason: str
        def __init__(self, seq: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
    OUTBOX_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CONTIGUOUS_TO_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    HUB_TIME_US_FIELD_NUMBER: _ClassVar[int]
    outbox_id: str
    stream: str
    contiguous_to: int
    ranges: _containers.RepeatedCompositeFieldContainer[Ack.Range]
    quarantined: _containers.RepeatedCompositeFieldContainer[Ack.Quarantined]
    hub_time_us: int
    def __init__(self, outbox_id: _Optional[str] = ..., stream: _Optional[str] = ..., contiguous_to: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[Ack.Range, _Mapping]]] = ..., quarantined: _Optional[_Iterable[_Union[Ack.Quarantined, _Mapping]]] = ..., hub_time_us: _Optional[int] = ...) -> None: ...
