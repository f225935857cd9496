"""Which part of a `config.pbtxt` applies: a row for every field, and the check by those rows.

A field that would change what is answered, or on what, is refused by name where it is not served.
What only hints at hardware that is not there is let be. Field numbers do not matter here: a field
that a later Triton adds is unknown to the parser already.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fogline.errors import InvalidInput, Unsupported
from fogline_edge.serving.repository.config_file import ConfigFile

Effect = Literal["applies", "ignored", "refused"]


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of one field, and of all fields within it unless they have rows themselves."""

    effect: Effect
    text: str
    only: tuple[str, ...] = ()
    """The values that `effect` is for, as the text writes them; any other one is refused."""


_GPU = "there is no GPU here"
_SEQUENCES = "requests of one sequence are not kept together"

FIELDS: Mapping[str, Row] = MappingProxyType(
    {
        "name": Row("applies", "must be the folder's name"),
        "platform": Row(
            "applies", "an ONNX file, or an ensemble of models", ("onnxruntime_onnx", "ensemble")
        ),
        "backend": Row("applies", "the one that is served", ("onnxruntime",)),
        "runtime": Row("refused", "names a library to load, and none is loaded"),
        "version_policy": Row("applies", "which versions are served: latest, all, specific"),
        "max_batch_size": Row(
            "applies", "most rows of one request, and of a stack; 0: dims are whole shapes"
        ),
        "input.name": Row("applies", "an input of the model"),
        "input.data_type": Row("applies", "must be the model's"),
        "input.format": Row("applies", "told to clients; the tensor goes in as it comes"),
        "input.dims": Row("applies", "the shape without the rows; -1 is free"),
        "input.reshape": Row("applies", "the shape that the model takes instead"),
        "input.is_shape_tensor": Row("refused", "TensorRT's"),
        "input.allow_ragged_batch": Row("refused", "rows of a stack have one shape"),
        "input.optional": Row("refused", "every input of a request must be there"),
        "input.is_non_linear_format_io": Row("refused", "TensorRT's"),
        "output.name": Row("applies", "an output of the model; the others are not served"),
        "output.data_type": Row("applies", "must be the model's"),
        "output.dims": Row("applies", "the shape without the rows; -1 is free"),
        "output.reshape": Row("applies", "the shape that the model gives instead"),
        "output.label_filename": Row("applies", "a label a line, for the classification extension"),
        "output.is_shape_tensor": Row("refused", "TensorRT's"),
        "output.is_non_linear_format_io": Row("refused", "TensorRT's"),
        "batch_input": Row("refused", "inputs are those of the request, none is made up"),
        "batch_output": Row("refused", "outputs are the model's, row by row"),
        "optimization.graph.level": Row(
            "applies", "1: optimise as always, 2: not at all", ("1", "2")
        ),
        "optimization.priority": Row("refused", "TensorRT's; give requests a priority"),
        "optimization.cuda": Row("refused", _GPU),
        "optimization.execution_accelerators": Row(
            "refused", f"models run on onnxruntime's CPU provider; {_GPU}"
        ),
        "optimization.input_pinned_memory": Row("ignored", _GPU),
        "optimization.output_pinned_memory": Row("ignored", _GPU),
        "optimization.gather_kernel_buffer_threshold": Row("ignored", _GPU),
        "optimization.eager_batching": Row("ignored", "what is ready is stacked at once anyway"),
        "dynamic_batching.preferred_batch_size": Row(
            "applies", "the largest of them is the most rows of a stack"
        ),
        "dynamic_batching.max_queue_delay_microseconds": Row(
            "applies", "how long a request may be held up for others to be stacked with"
        ),
        "dynamic_batching.preserve_ordering": Row(
            "refused", "answers are given as they come; ask with ids, or one after the other"
        ),
        "dynamic_batching.priority_levels": Row(
            "applies", "priorities that requests may have; 1 is the highest"
        ),
        "dynamic_batching.default_priority_level": Row(
            "applies", "the priority of requests that have none"
        ),
        "dynamic_batching.default_queue_policy.timeout_action": Row(
            "applies", "late requests are refused", ("REJECT",)
        ),
        "dynamic_batching.default_queue_policy.default_timeout_microseconds": Row(
            "applies", "how long a request may take that does not say so itself"
        ),
        "dynamic_batching.default_queue_policy.allow_timeout_override": Row(
            "applies", "whether a request may set a shorter time itself"
        ),
        "dynamic_batching.default_queue_policy.max_queue_size": Row(
            "applies", "most requests that wait"
        ),
        "dynamic_batching.priority_queue_policy": Row(
            "refused", "one policy holds for all priorities of a model"
        ),
        "sequence_batching": Row("refused", _SEQUENCES),
        "ensemble_scheduling": Row(
            "applies", "a pipeline of the repository's models; nothing else beside its tensors"
        ),
        "instance_group.name": Row("ignored", "told to clients"),
        "instance_group.kind": Row("applies", "where to run", ("KIND_CPU",)),
        "instance_group.count": Row(
            "applies", "most runs at once; without it, as many as the device has cores for"
        ),
        "instance_group.rate_limiter": Row("refused", "there are no named resources"),
        "instance_group.gpus": Row("refused", _GPU),
        "instance_group.secondary_devices": Row("refused", "there are no accelerators here"),
        "instance_group.profile": Row("refused", "TensorRT's"),
        "instance_group.passive": Row("refused", "every instance takes requests"),
        "instance_group.host_policy": Row("refused", "there are no host policies"),
        "default_model_filename": Row("applies", "the model's file in a version's folder"),
        "cc_model_filenames": Row("refused", _GPU),
        "metric_tags": Row("refused", "metrics are told apart by model and version alone"),
        "parameters": Row("applies", "see the parameters below; any other one is refused"),
        "model_warmup": Row(
            "applies", "run before the version answers; what 30 s do not suffice for is left out"
        ),
        "model_operations": Row("refused", "libraries of operators are code, and none is loaded"),
        "model_transaction_policy.decoupled": Row("refused", "every request has one answer"),
        "model_repository_agents": Row("refused", "agents are code, and none is loaded"),
        "response_cache.enable": Row("refused", "answers are not cached"),
        "model_metrics": Row("refused", "every histogram has the same buckets"),
    }
)
"""Fields of `ModelConfig` by their path. A field within one that has a row is covered by it."""

ENSEMBLE = frozenset({
    "name", "platform", "max_batch_size", "ensemble_scheduling",
    "input.name", "input.data_type", "input.dims", "input.format",
    "output.name", "output.data_type", "output.dims",
})  # fmt: skip
"""Fields that an ensemble may have."""

PARAMETERS: Mapping[str, Row] = MappingProxyType(
    {
        "intra_op_thread_count": Row("applies", "threads inside one run; 0: one"),
        "inter_op_thread_count": Row("ignored", "nodes run one after the other"),
        "execution_mode": Row("applies", "nodes run one after the other", ("0",)),
        "enable_mem_arena": Row("applies", "1: keep freed memory for the next run", ("0", "1")),
        "enable_mem_pattern": Row("ignored", "follows from the arena"),
        "input_minimum:NAME": Row("applies", "the least value that the input NAME may hold"),
        "input_maximum:NAME": Row("applies", "the greatest value that the input NAME may hold"),
    }
)
"""Keys of `parameters`; the first ones are those of Triton's ONNX Runtime backend."""


def check_support(config: ConfigFile) -> None:
    """Holds every field that is set against its row.

    Raises:
        Unsupported: a field or value that is not served; the text names file, line and field.
    """
    for path, value in _set_fields(config.message, ()):
        row = FIELDS[".".join(path)]
        if is_ensemble(config) and ".".join(path) not in ENSEMBLE:
            raise Unsupported(
                f"{config.where(path)}: {'.'.join(path)} is not served of an ensemble; its models "
                "may have it"
            )
        if row.effect == "refused":
            raise Unsupported(f"{config.where(path)}: {'.'.join(path)} is not served: {row.text}")
        if row.only and value not in row.only:
            raise Unsupported(
                f"{config.where(path)}: {'.'.join(path)} {value[:80]} is not served, only "
                f"{' and '.join(row.only)}: {row.text}"
            )
    for key, parameter in config.message.parameters.items():
        _check_parameter(config, key, parameter.string_value)


def is_ensemble(config: ConfigFile) -> bool:
    """Raises `InvalidInput` where the configuration is not sure of it."""
    has_steps = config.message.HasField("ensemble_scheduling")
    if config.message.platform and (config.message.platform == "ensemble") is not has_steps:
        raise InvalidInput(
            f"{config.where(('platform',))}: platform: `ensemble` and ensemble_scheduling come "
            "together"
        )
    return has_steps


def parameter_row(key: str) -> Row | None:
    """The row of a parameter's key; None if it has none."""
    kind, colon, name = key.partition(":")
    return PARAMETERS.get(f"{kind}:NAME" if colon and name else key)


def _check_parameter(config: ConfigFile, key: str, value: str) -> None:
    row = parameter_row(key)
    at = config.where(("parameters",))
    if row is None:
        known = ", ".join(PARAMETERS)
        raise Unsupported(f"{at}: the parameter {key[:80]!r} is not served; there are: {known}")
    if row.only and value not in row.only:
        raise Unsupported(
            f"{at}: the parameter {key!r} is {value[:80]!r}; only {' and '.join(row.only)} is "
            f"served: {row.text}"
        )


def _set_fields(message: Message, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every field that is set, down to those that have rows, with its value as text writes it."""
    for field, value in message.ListFields():
        path = (*above, field.name)
        if ".".join(path) in FIELDS:
            for one in _each(field, value):
                yield path, _written(field, one)
        else:
            for one in _each(field, value):
                yield from _set_fields(one, path)


def _each(field: FieldDescriptor, value: Any) -> Any:
    return value if field.is_repeated else (value,)


def _written(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None and isinstance(value, int):
        known = field.enum_type.values_by_number.get(value)  # the text may say any number
        return str(value if known is None else known.name)
    return "" if isinstance(value, Message) else str(value)
