"""`config.pbtxt`: what applies, what is refused, and where an error points."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.errors import InvalidInput, Unsupported
from fogline.wire.model_config_pb2 import ModelConfig
from fogline_edge.serving.queue_policy import QueuePolicy
from fogline_edge.serving.repository.config_file import parse_config
from fogline_edge.serving.repository.declaration import Declaration, declare
from fogline_edge.serving.repository.support import FIELDS, PARAMETERS
from fogline_edge.serving.versions import VersionPolicy

TENSORS = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
"""


def declared(text: str, folder: str = "m") -> Declaration:
    return declare(parse_config(text.encode(), "m/config.pbtxt"), folder)


def fields_of(message: Any, above: str = "") -> Iterator[str]:
    """Every field down to the rows, and what has no row."""
    for f in message.fields:
        path = f"{above}{f.name}"
        if path in FIELDS:
            yield path
        elif f.message_type is not None and not f.message_type.GetOptions().map_entry:
            yield from fields_of(f.message_type, f"{path}.")
        else:
            yield f"{path} has no row"


def test_every_field_of_a_configuration_has_a_row() -> None:
    assert set(fields_of(ModelConfig.DESCRIPTOR)) == set(FIELDS)


def test_a_whole_configuration_is_read() -> None:
    made = declared(
        """
        # as a Triton user writes it
        name: "m"
        platform: "onnxruntime_onnx"
        backend: "onnxruntime"
        max_batch_size: 32
        version_policy: { specific: { versions: [ 1, 3 ] } }
        default_model_filename: "net.onnx"
        instance_group [ { kind: KIND_CPU count: 2 } ]
        dynamic_batching {
          preferred_batch_size: [ 4, 16 ]
          max_queue_delay_microseconds: 500
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy {
            default_timeout_microseconds: 20000
            allow_timeout_override: true
            max_queue_size: 7
          }
        }
        optimization { graph { level: 2 } input_pinned_memory { enable: true } }
        parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
        parameters { key: "enable_mem_arena" value: { string_value: "1" } }
        parameters { key: "input_minimum:x" value: { string_value: "0" } }
        parameters { key: "input_maximum:x" value: { string_value: "9.5" } }
        """
        + TENSORS
    )
    x, y = made.inputs[0], made.outputs[0]
    assert (x.name, x.datatype, x.dims, x.reshape) == ("x", "FP32", (4,), None)
    assert (y.name, y.label_file) == ("y", "labels.txt")
    assert made.max_batch_size == 32
    assert (made.max_stack, made.max_delay_us) == (16, 500)
    assert made.versions == VersionPolicy(kind="specific", specific=(1, 3))
    assert made.model_file == "net.onnx"
    assert (made.threads, made.arena, made.optimize) == (2, True, False)
    assert made.bounds == {"x": (0, 9.5)}
    assert made.queue == QueuePolicy(
        max_queued=7, max_running=2, timeout_us=20_000, priorities=3, default_priority=2
    )


def test_what_is_not_said_is_as_it_is_by_default() -> None:
    assert declared("") == Declaration()
    assert declared('backend: "onnxruntime"') == Declaration()
    assert declared("max_batch_size: 8").max_stack == 8
    assert declared(TENSORS).max_batch_size == 0
    assert declared(TENSORS).max_stack == 1
    assert declared("version_policy: { all { } }").versions.kind == "all"
    assert declared("version_policy { latest { num_versions: 2 } }").versions.latest == 2


def test_a_timeout_is_fixed_where_requests_may_not_change_it() -> None:
    text = "dynamic_batching { default_queue_policy { default_timeout_microseconds: 9 } }"
    assert declared(text).queue.is_timeout_fixed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name: "m"\nplatform: "tensorrt_plan"', r"pbtxt:2: platform tensorrt_plan is not served"),
        ('backend: "python"', "backend python is not served, only onnxruntime"),
        ('runtime: "lib.so"', "runtime is not served"),
        ("instance_group [ { kind: KIND_GPU } ]", "instance_group.kind KIND_GPU is not served"),
        ("instance_group [ { kind: KIND_CPU }\n, { gpus: [ 0 ] } ]", ":2: instance_group.gpus"),
        ("instance_group { rate_limiter { priority: 2 } }", "instance_group.rate_limiter"),
        ("sequence_batching { }", "sequence_batching is not served"),
        ("ensemble_scheduling { } parameters { }", "parameters is not served of an ensemble"),
        (
            "ensemble_scheduling { } instance_group { count: 2 }",
            "instance_group.count is not served of",
        ),
        ("input { name: 'x' optional: true }", "input.optional is not served"),
        ("input { name: 'x' is_shape_tensor: true }", "input.is_shape_tensor"),
        ("input { name: 'x' allow_ragged_batch: true }", "input.allow_ragged_batch"),
        ("batch_input { kind: BATCH_ITEM_SHAPE }", "batch_input"),
        ("# gpus\noptimization {\n cuda { graphs: true } }", ":3: optimization.cuda"),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator { name: 'x' } } }",
            "optimization.execution_accelerators is not served",
        ),
        ("optimization { graph { level: -1 } }", "optimization.graph.level -1 is not served"),
        ("dynamic_batching { preserve_ordering: true }", "preserve_ordering"),
        (
            "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
            "timeout_action DELAY",
        ),
        (
            "dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 1 } } }",
            "priority_queue_policy",
        ),
        ("model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled"),
        ("model_operations { op_library_filename: 'a.so' }", "model_operations"),
        ("model_repository_agents { agents { name: 'x' } }", "model_repository_agents"),
        ("response_cache { enable: true }", "response_cache.enable"),
        ("cc_model_filenames { key: '7.5' value: 'a' }", "cc_model_filenames"),
        ("metric_tags { key: 'a' value: 'b' }", "metric_tags"),
        (
            "parameters { key: 'gpu_mem_limit' value { string_value: '1' } }",
            "parameter 'gpu_mem_limit' is not served; there are: intra_op",
        ),
        (
            "parameters { key: 'execution_mode' value { string_value: '1' } }",
            "'execution_mode' is '1'",
        ),
    ],
)
def test_what_is_not_served_is_refused_by_name_and_line(text: str, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        declared(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name: "other"', "pbtxt:1: name: 'other' is not the folder's 'm'"),
        ("nmae: 'm'", r"pbtxt:1:1: .*no field named \"nmae\""),
        ("\n\ninput [ {", r"pbtxt:3:\d+: Expected"),
        ("max_batch_size: -1", "max_batch_size: -1 is negative"),
        ("max_batch_size: 99999999999", "out of range"),
        ("dynamic_batching {} sequence_batching {}", "another member of oneof"),
        ("input { data_type: TYPE_FP32 dims: 1 }", "a tensor has no name"),
        ("input { name: 'x' dims: 1 }", "input.data_type: 'x' has no data type"),
        ("input { name: 'x' data_type: TYPE_FP32 dims: 0 }", "input.dims: 'x'"),
        ("input { name: 'x' data_type: TYPE_FP32 dims: -2 }", "input.dims: 'x'"),
        ("input { name: 'x' data_type: TYPE_FP32 }", "reshape: { shape: "),
        ("default_model_filename: '../m.onnx'", "plain name of a file"),
        ("default_model_filename: 'a\\000b'", "plain name of a file"),
        ("default_model_filename: '..'", "plain name of a file"),
        ("version_policy { specific { } }", "names no versions"),
        ("version_policy { specific { versions: -1 } }", "names no versions"),
        (
            "max_batch_size: 8 dynamic_batching { preferred_batch_size: 16 }",
            "preferred_batch_size: 16 is not from 1",
        ),
        (
            "dynamic_batching { max_queue_delay_microseconds: 99000000 }",
            "99000000 is above 10000000",
        ),
        ("dynamic_batching { priority_levels: 3 }", "default priority 0 is none of 1 to 3"),
        ("dynamic_batching { priority_levels: 1000000 }", "dynamic_batching.*Expected `int` <= 64"),
        ("instance_group { count: 1000000 }", "instance_group: Expected `int` <= 1024"),
        ("instance_group { count: -1 }", "instance_group: Expected `int` >= 0"),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: 'all' } }",
            "'all' threads",
        ),
        (
            "parameters { key: 'input_minimum:x' value { string_value: 'nan' } }",
            "'nan' is not a number",
        ),
        ("model_warmup { count: 1000000 }", "at most 100 runs"),
        (
            "model_warmup { inputs { key: 'x' value { input_data_file: '/etc/passwd' } } }",
            "plain name of a file",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        declared(text)


def test_a_line_is_found_past_comments_and_strings() -> None:
    text = '# platform: here?\nname: "platform: \\" no"  # platform\n\nplatform: "x"'
    config = parse_config(text.encode(), "c")
    assert config.where(("platform",)) == "c:4"
    assert config.where(("optimization",)) == "c"


def test_parameters_that_are_let_be_have_no_effect() -> None:
    for key, row in PARAMETERS.items():
        if row.effect == "ignored":
            text = f"parameters {{ key: '{key}' value {{ string_value: '3' }} }}"
            assert declared(text) == Declaration()


names = st.sampled_from([*ModelConfig.DESCRIPTOR.fields_by_name, "dims", "kind", "count", "x"])
words = st.one_of(
    names, st.sampled_from(["{", "}", "[", "]", ":", ",", "'a'", "1", "-1", "KIND_GPU", "true"])
)


@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.lists(words).map(" ".join).map(str.encode))
)
def test_any_text_is_read_or_refused(data: bytes) -> None:
    with suppress(InvalidInput):  # Unsupported among them
        declare(parse_config(data, "c"), "m")


def test_a_warm_up_is_read() -> None:
    (warmup,) = declared(
        """
        model_warmup [ {
          name: "first" batch_size: 4 count: 2
          inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } }
        } ]
        """
    ).warmups
    assert (warmup.batch_size, warmup.runs) == (4, 2)
    given_: Any = warmup.inputs[0]
    assert (given_.name, given_.datatype, given_.dims, given_.content) == (
        "x",
        "FP32",
        (4,),
        "random",
    )
