"""What a `config.pbtxt` asks of a model, as a value; pure.

Everything in it is known to be served (`support`) and to agree with itself. Whether it agrees with
the model's own tensors is `shapes`'s to say, when the model has been read.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from fogline.errors import InvalidInput
from fogline.records import Record, convert
from fogline.runtime.plan import MAX_STACK
from fogline.wire.model_config_pb2 import DataType, ModelInput, ModelOutput, ModelWarmup
from fogline_edge.serving.model_config import datatype_of
from fogline_edge.serving.queue_policy import QueuePolicy
from fogline_edge.serving.repository.config_file import ConfigFile
from fogline_edge.serving.repository.support import check_support
from fogline_edge.serving.versions import VersionPolicy

MODEL_FILE = "model.onnx"
MAX_DELAY_US = 10_000_000
MAX_THREADS = 256
MAX_WARMUPS = 16
MAX_WARMUP_RUNS = 100
MAX_WARMUP_DIM = 2**20

Number = int | float
Bounds = tuple[Number | None, Number | None]
"""The least and the greatest value; None: there is none."""
Content = Literal["zero", "random", "file"]

_WARMUP_CONTENTS: Mapping[str | None, Content] = MappingProxyType(
    {None: "zero", "zero_data": "zero", "random_data": "random", "input_data_file": "file"}
)


class DeclaredTensor(Record, frozen=True, kw_only=True):
    """An input or output as clients see it, and how the model sees it."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    """Without the rows where the model batches; -1 is free."""
    reshape: tuple[int, ...] | None = None
    """The dims that the model has instead; None: the same."""
    label_file: str = ""


class WarmupInput(Record, frozen=True, kw_only=True):
    """One input of a warm-up run, of one row where the model batches."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    content: Content
    file: str = ""
    """In the model's folder `warmup`: the tensor's raw bytes."""


class Warmup(Record, frozen=True, kw_only=True):
    """Runs before a version answers."""

    name: str
    batch_size: int
    runs: int
    inputs: tuple[WarmupInput, ...]


class Declaration(Record, frozen=True, kw_only=True):
    """A model's declaration; without a `config.pbtxt` everything is as it is by default."""

    max_batch_size: int | None = None
    """Most rows of a request and of a stack; 0: no batching, dims are whole shapes; None: not
    declared, as the model has it."""
    inputs: tuple[DeclaredTensor, ...] = ()
    """Empty: the model's own."""
    outputs: tuple[DeclaredTensor, ...] = ()
    bounds: Mapping[str, Bounds] = {}
    """Values that inputs may hold, by name, whether or not the inputs are declared."""
    model_file: str = MODEL_FILE
    versions: VersionPolicy = VersionPolicy()
    threads: int | None = None
    arena: bool | None = None
    optimize: bool | None = None
    max_stack: int | None = None
    """Most rows that may be stacked; None: what qualification proves."""
    max_delay_us: int = 0
    queue: QueuePolicy = QueuePolicy()
    warmups: tuple[Warmup, ...] = ()


def declare(config: ConfigFile, folder: str) -> Declaration:
    """Reads a configuration of the model in `folder`.

    Raises:
        Unsupported: it asks for something that is not served.
        InvalidInput: it contradicts itself, or the folder's name. Both name file, line and field.
    """
    check_named(config, folder)
    message = config.message
    level = message.optimization.graph.level
    return Declaration(
        max_batch_size=_max_batch_size(config),
        inputs=tuple(_tensor(config, "input", t) for t in message.input),
        outputs=tuple(_tensor(config, "output", t) for t in message.output),
        bounds=_bounds(config),
        model_file=_file_name(config, ("default_model_filename",)) or MODEL_FILE,
        versions=_versions(config),
        threads=_threads(config),
        arena=_arena(config),
        optimize=None if not level else level != 2,
        max_stack=_max_stack(config),
        max_delay_us=_max_delay_us(config),
        queue=_queue(config),
        warmups=_warmups(config),
    )


def check_named(config: ConfigFile, folder: str) -> None:
    """Raises as `check_support`, and `InvalidInput` where the name is not the folder's."""
    check_support(config)
    name = config.message.name
    if name and name != folder:
        raise _wrong(config, ("name",), f"{name[:80]!r} is not the folder's {folder!r}")


def _wrong(config: ConfigFile, fields: tuple[str, ...], text: str) -> InvalidInput:
    return InvalidInput(f"{config.where(fields)}: {'.'.join(fields)}: {text}")


def _max_batch_size(config: ConfigFile) -> int | None:
    message = config.message
    if message.max_batch_size < 0:
        raise _wrong(config, ("max_batch_size",), f"{message.max_batch_size} is negative")
    # The format does not tell 0 from nothing said; without tensors there is nothing it speaks of.
    is_said = message.max_batch_size or message.input or message.output
    return message.max_batch_size if is_said else None


def _file_name(config: ConfigFile, fields: tuple[str, ...], value: str | None = None) -> str:
    """A plain name of a file in the model's own folder; empty if none is given."""
    name = str(getattr(config.message, fields[0])) if value is None else value
    if name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise _wrong(config, fields, f"{name[:80]!r} must be the plain name of a file")
    return name


def _tensor(config: ConfigFile, side: str, tensor: ModelInput | ModelOutput) -> DeclaredTensor:
    if not tensor.name:
        raise _wrong(config, (side,), "a tensor has no name")
    if not tensor.data_type:
        raise _wrong(config, (side, "data_type"), f"{tensor.name[:80]!r} has no data type")
    reshape = tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None
    for dims in (tuple(tensor.dims), reshape or ()):
        if any(d == 0 or d < -1 for d in dims):
            raise _wrong(config, (side, "dims"), f"{tensor.name[:80]!r}: {list(dims)[:16]}")
    if not tensor.dims:
        raise _wrong(
            config,
            (side, "dims"),
            f"{tensor.name[:80]!r} has none; write dims: [ 1 ] and reshape: {{ shape: [ ] }} "
            "where the model's tensor has rows alone",
        )
    label_file = tensor.label_filename if isinstance(tensor, ModelOutput) else ""
    return DeclaredTensor(
        name=tensor.name,
        datatype=_datatype(config, (side, "data_type"), tensor.data_type),
        dims=tuple(tensor.dims),
        reshape=reshape,
        label_file=_file_name(config, (side, "label_filename"), label_file),
    )


def _datatype(config: ConfigFile, fields: tuple[str, ...], value: DataType) -> str:
    try:
        return datatype_of(value)
    except InvalidInput as e:
        raise _wrong(config, fields, str(e)) from None


def _versions(config: ConfigFile) -> VersionPolicy:
    policy = config.message.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(kind="all")
        case "specific":
            numbers = tuple(policy.specific.versions)
            if not numbers or any(not 0 < n < 2**31 for n in numbers):
                raise _wrong(config, ("version_policy", "specific"), "names no versions from 1")
            return VersionPolicy(kind="specific", specific=numbers)
        case _:
            return VersionPolicy(latest=max(1, policy.latest.num_versions))


def _max_delay_us(config: ConfigFile) -> int:
    value = config.message.dynamic_batching.max_queue_delay_microseconds
    if value > MAX_DELAY_US:
        fields = ("dynamic_batching", "max_queue_delay_microseconds")
        raise _wrong(config, fields, f"{value} is above {MAX_DELAY_US}")
    return int(value)


def _max_stack(config: ConfigFile) -> int | None:
    """Most rows of a stack, by the largest preferred size and the batch's own bound."""
    message = config.message
    if _max_batch_size(config) is None:
        return None
    preferred = message.dynamic_batching.preferred_batch_size
    fields = ("dynamic_batching", "preferred_batch_size")
    for size in preferred:
        if not 0 < size <= message.max_batch_size:
            raise _wrong(config, fields, f"{size} is not from 1 to max_batch_size")
    most = max(preferred, default=message.max_batch_size)
    return min(max(most, 1), MAX_STACK)


def _queue(config: ConfigFile) -> QueuePolicy:
    batching = config.message.dynamic_batching
    policy = batching.default_queue_policy
    timeout_us = policy.default_timeout_microseconds
    plain = {
        "max_queued": policy.max_queue_size,
        "max_running": sum(group.count for group in config.message.instance_group),
        "timeout_us": timeout_us,
        "is_timeout_fixed": bool(timeout_us) and not policy.allow_timeout_override,
        "priorities": batching.priority_levels,
        "default_priority": batching.default_priority_level,
    }
    return convert(plain, QueuePolicy, f"{config.path}: dynamic_batching or instance_group")


def _warmups(config: ConfigFile) -> tuple[Warmup, ...]:
    found = config.message.model_warmup
    if len(found) > MAX_WARMUPS:
        raise _wrong(config, ("model_warmup",), f"{len(found)}, at most {MAX_WARMUPS} are run")
    return tuple(_warmup(config, warmup) for warmup in found)


def _warmup(config: ConfigFile, warmup: ModelWarmup) -> Warmup:
    fields = ("model_warmup",)
    if warmup.count > MAX_WARMUP_RUNS or warmup.batch_size > MAX_STACK:
        raise _wrong(config, fields, f"at most {MAX_WARMUP_RUNS} runs of {MAX_STACK} rows are made")
    inputs = []
    for name, given in warmup.inputs.items():
        if any(not 0 < d <= MAX_WARMUP_DIM for d in given.dims):
            raise _wrong(config, fields, f"input {name[:80]!r}: dims {list(given.dims)[:16]}")
        inputs.append(
            WarmupInput(
                name=name,
                datatype=_datatype(config, (*fields, "data_type"), given.data_type),
                dims=tuple(given.dims),
                content=_WARMUP_CONTENTS[given.WhichOneof("input_data_type")],
                file=_file_name(config, fields, given.input_data_file),
            )
        )
    return Warmup(
        name=warmup.name,
        batch_size=max(1, warmup.batch_size),
        runs=max(1, warmup.count),
        inputs=tuple(inputs),
    )


def _parameter(config: ConfigFile, key: str) -> str | None:
    parameters = config.message.parameters
    return parameters[key].string_value if key in parameters else None


def _threads(config: ConfigFile) -> int | None:
    text = _parameter(config, "intra_op_thread_count")
    if text in (None, "0"):
        return None
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MAX_THREADS:
        return int(text)
    raise _wrong(config, ("parameters", "value"), f"{text[:80]!r} threads are not 0 to 256")


def _arena(config: ConfigFile) -> bool | None:
    text = _parameter(config, "enable_mem_arena")
    return None if text is None else text == "1"


def _bounds(config: ConfigFile) -> dict[str, Bounds]:
    """By input: the least and the greatest value that the parameters give."""
    bounds: dict[str, Bounds] = {}
    for key, parameter in config.message.parameters.items():
        kind, _, name = key.partition(":")
        if kind not in ("input_minimum", "input_maximum"):
            continue
        least, greatest = bounds.get(name, (None, None))
        value = _number(config, key, parameter.string_value)
        bounds[name] = (value, greatest) if kind == "input_minimum" else (least, value)
    return bounds


def _number(config: ConfigFile, key: str, text: str) -> Number:
    try:
        whole = int(text)
    except ValueError:
        pass
    else:
        if -(2**63) <= whole < 2**64:  # what a record can hold
            return whole
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(config, ("parameters",), f"{key[:80]}: {text[:80]!r} is not a number")
    return value
