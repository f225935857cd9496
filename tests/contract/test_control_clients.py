"""The calls that steer a server, through Triton's own client over the Unix socket."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from fogline.wire.services import METHODS
from fogline_edge.serving import Listener, Server
from tests import models
from tests.serving import ANYWHERE, models_of, served_model

UNARY = sorted(
    path
    for path, method in METHODS.items()
    if not method.streams_requests and not method.streams_responses
)
CALLERS_FAULTS = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED",
    "PERMISSION_DENIED",
}  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of one model, whose Unix socket trusts this process."""
    folder = tmp_path_factory.mktemp("served")
    known = models_of(served_model(models.save_identity(folder / "m.onnx")))
    server = Server((Listener(address=ANYWHERE), Listener(address=folder / "s")), known)
    _, unix = server.start()
    yield str(unix)
    server.drain()


@pytest.fixture
def client(target: str) -> Iterator[Any]:
    made = triton.InferenceServerClient(target)
    yield made
    made.close()


def test_the_index_and_the_configuration_are_read(client: Any) -> None:
    (row,) = client.get_model_repository_index(as_json=True)["models"]
    assert row == {"name": "m", "version": "1", "state": "READY"}
    config = client.get_model_config("m", as_json=True)["config"]
    assert (config["name"], config["backend"]) == ("m", "onnxruntime")


def test_models_of_the_command_line_are_not_a_callers(client: Any) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="the command line decides") as caught:
            call("m")
        assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


def test_settings_are_read_and_what_may_be_changed_is(client: Any) -> None:
    read = client.get_log_settings(as_json=True)["settings"]
    assert read["log_format"] == {"string_param": "json"}
    level = {"log_verbose_level": read["log_verbose_level"]["uint32_param"]}
    assert client.update_log_settings(level, as_json=True)["settings"] == read
    with pytest.raises(InferenceServerException, match="'log_file' is refused"):
        client.update_log_settings({"log_file": "/etc/cron.d/x"})
    off = {"settings": {"trace_level": {"value": ["OFF"]}}}
    assert client.get_trace_settings(as_json=True) == off
    assert client.update_trace_settings(None, {"trace_level": ["OFF"]}, as_json=True) == off
    with pytest.raises(InferenceServerException, match="'trace_file' is refused"):
        client.update_trace_settings(None, {"trace_file": "/etc/cron.d/x"})


def test_shared_memory_is_listed_and_that_of_a_gpu_is_refused(client: Any) -> None:
    assert not client.get_system_shared_memory_status().regions
    for key in ("/../etc/passwd", "/nobody", ""):
        with pytest.raises(InferenceServerException) as caught:
            client.register_system_shared_memory("r", key, 8)
        assert caught.value.status() in ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")
    client.unregister_system_shared_memory("nobody")
    with pytest.raises(InferenceServerException, match="CUDA") as caught:
        client.get_cuda_shared_memory_status()
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def status(target: str, path: str, data: bytes) -> str:
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary(path)(data, timeout=20)
        except grpc.RpcError as e:
            return str(e.code().name)
    return "OK"


@pytest.mark.parametrize("path", UNARY)
def test_an_empty_message_never_breaks_a_method(target: str, path: str) -> None:
    found = status(target, path, b"")
    assert found in CALLERS_FAULTS
    assert (found == "UNIMPLEMENTED") == ("Cuda" in path)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(UNARY), data=st.binary(max_size=200))
def test_no_bytes_break_a_method(target: str, path: str, data: bytes) -> None:
    assert status(target, path, data) in CALLERS_FAULTS


@pytest.mark.parametrize("path", [p for p in UNARY if "Shared" not in p])
def test_a_message_of_everything_breaks_no_method(target: str, path: str) -> None:
    """Every field set: strings long, numbers at their ends, maps and lists filled."""
    message = METHODS[path].request()
    fill(message)
    assert status(target, path, message.SerializeToString()) in CALLERS_FAULTS


def fill(message: Any, depth: int = 0) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            fill_message(message, field, depth)
        elif field.is_repeated:
            getattr(message, field.name).append(value_of(field))
        else:
            setattr(message, field.name, value_of(field))


def fill_message(message: Any, field: Any, depth: int) -> None:
    if depth > 4:
        return
    if field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        held = getattr(message, field.name)
        if entry.message_type is None:
            held[""] = value_of(entry)
        else:
            fill(held["x" * 100], depth + 1)
    elif field.is_repeated:
        fill(getattr(message, field.name).add(), depth + 1)
    else:
        fill(getattr(message, field.name), depth + 1)


def value_of(field: Any) -> Any:
    kinds = {
        field.CPPTYPE_STRING: b"\xff" * 300 if field.type == field.TYPE_BYTES else "é\n\0" * 100,
        field.CPPTYPE_BOOL: True,
        field.CPPTYPE_INT32: -(2**31),
        field.CPPTYPE_INT64: -(2**63),
        field.CPPTYPE_UINT32: 2**32 - 1,
        field.CPPTYPE_UINT64: 2**64 - 1,
        field.CPPTYPE_FLOAT: float("inf"),
        field.CPPTYPE_DOUBLE: float("nan"),
        field.CPPTYPE_ENUM: 1,
    }
    return kinds[field.cpp_type]
