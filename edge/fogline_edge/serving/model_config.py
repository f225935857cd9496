"""What a version's configuration is, in the words that Triton's clients read; pure.

Only what is in force is said. Where a version came with a declaration (a repository's
`config.pbtxt`), that is the base; what qualification found out is said over it.
"""

from fogline.errors import InvalidInput
from fogline.schema import Field
from fogline.wire.model_config_pb2 import DataType, ModelConfig
from fogline_edge.serving.served import ONNXRUNTIME, ServedModel

BACKEND = "onnxruntime"
"""Triton's name of the backend of ONNX files; pipelines have none."""

_STRING = "TYPE_STRING"


def type_name(datatype: str) -> str:
    """The configuration's word for an Open Inference datatype.

    >>> type_name("BYTES"), type_name("FP32")
    ('TYPE_STRING', 'TYPE_FP32')
    """
    return _STRING if datatype == "BYTES" else f"TYPE_{datatype}"


def datatype_of(value: DataType) -> str:
    """The Open Inference datatype of a configuration's; the other way round.

    Raises:
        InvalidInput: there is none such.
    """
    if value not in DataType.values():
        raise InvalidInput(f"there is no data type {value}")
    name = DataType.Name(value)
    return "BYTES" if name == _STRING else name.removeprefix("TYPE_")


def describe(served: ServedModel, declared: ModelConfig | None = None) -> ModelConfig:
    """The configuration of a version as it runs.

    A version without a declaration is said to batch only where every tensor has a batch dimension
    and others beside it: Triton's rules give a batching model's tensors at least one more.

    Args:
        served: The version.
        declared: What it was declared as, its tensors included.
    """
    config = ModelConfig()
    if declared is None:
        config.max_batch_size = _batch_size(served)
    else:
        config.CopyFrom(declared)
    _add_tensors(config, served)
    is_ensemble = config.HasField("ensemble_scheduling")
    config.name = served.name
    config.platform = "ensemble" if is_ensemble else served.platform
    config.backend = BACKEND if served.platform == ONNXRUNTIME else ""
    plan = served.plan
    if config.max_batch_size > 0 and plan.max_stack > 1:
        config.dynamic_batching.max_queue_delay_microseconds = plan.max_delay_us
    else:
        config.ClearField("dynamic_batching")
    if not config.instance_group:
        config.instance_group.add(name=f"{served.name}_0", kind="KIND_CPU", count=1)
    for key, value in {
        "intra_op_thread_count": plan.threads,
        "enable_mem_arena": int(plan.arena),
        "fogline.placement": plan.placement,
        "fogline.max_stack": plan.max_stack,
        "fogline.max_delay_us": plan.max_delay_us,
        "fogline.variant": served.variant,
        "fogline.digest": served.digest,
    }.items():
        if value != "":
            config.parameters[key].string_value = str(value)
    return config


def _batch_size(served: ServedModel) -> int:
    """Most rows that are stacked, where Triton's words can say so; else 0."""
    fields = (*served.schema.inputs, *served.schema.outputs)
    batches = all(f.shape[:1] == (-1,) and len(f.shape) > 1 for f in fields)
    return served.plan.max_stack if batches and served.plan.max_stack > 1 else 0


def _add_tensors(config: ModelConfig, served: ServedModel) -> None:
    """Adds those of a side that is not declared."""
    for fields, side in (
        (served.schema.inputs, config.input),
        (served.schema.outputs, config.output),
    ):
        if not side:
            for field in fields:
                kind = type_name(field.datatype)
                side.add(name=field.name, data_type=kind, dims=_dims(field, config))


def _dims(field: Field, config: ModelConfig) -> tuple[int, ...]:
    return field.shape[1:] if config.max_batch_size else field.shape
