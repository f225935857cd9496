"""Shared memory and classes as Triton's own client uses them, over a Unix socket."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from fogline_edge.serving import Listener, Server
from tests.models import save_identity, save_two_inputs
from tests.serving import models_of, served_model


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    models = models_of(
        served_model(save_two_inputs(tmp_path / "two.onnx"), "two"),
        served_model(save_identity(tmp_path / "text.onnx", "BYTES", (None,)), "text"),
    )
    server = Server((Listener(address=tmp_path / "s"),), models)
    server.start()
    made = triton.InferenceServerClient(f"unix:{tmp_path / 's'}")
    yield made
    made.close()
    server.drain()


@contextmanager
def region(size: int) -> Iterator[tuple[str, Any]]:
    """A shared memory object of the client's, and its key."""
    key = f"/fogline-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("own", key, size)
    try:
        yield key, handle
    finally:
        shm.destroy_shared_memory_region(handle)


def test_tensors_go_there_and_back_through_shared_memory(client: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    scale = np.array([[2], [3]], np.float32)
    with region(96) as (key, handle):
        shm.set_shared_memory_region(handle, [x, scale])
        client.register_system_shared_memory("r", key, 96)
        (status,) = client.get_system_shared_memory_status(as_json=True)["regions"].values()
        assert (status["name"], status["key"], status["byte_size"]) == ("r", key, "96")
        inputs = [
            triton.InferInput("x", [2, 3], "FP32"),
            triton.InferInput("scale", [2, 1], "FP32"),
        ]
        inputs[0].set_shared_memory("r", x.nbytes)
        inputs[1].set_shared_memory("r", scale.nbytes, x.nbytes)
        outputs = [triton.InferRequestedOutput("product"), triton.InferRequestedOutput("total")]
        outputs[0].set_shared_memory("r", 24, 40)
        result = client.infer("two", inputs, outputs=outputs)
        assert np.array_equal(shm.get_contents_as_numpy(handle, np.float32, [2, 3], 40), x * scale)
        assert result.get_output("product").shape == [2, 3]
        assert np.array_equal(result.as_numpy("total"), x + scale)
        client.unregister_system_shared_memory("r")
        with pytest.raises(InferenceServerException, match="no shared memory is registered as 'r'"):
            client.infer("two", inputs)


def test_one_input_may_lie_there_and_another_in_the_message(client: Any) -> None:
    x = np.ones((1, 3), np.float32)
    with region(12) as (key, handle):
        shm.set_shared_memory_region(handle, [x])
        client.register_system_shared_memory("r", key, 12)
        inputs = [
            triton.InferInput("x", [1, 3], "FP32"),
            triton.InferInput("scale", [1, 1], "FP32"),
        ]
        inputs[0].set_shared_memory("r", 12)
        inputs[1].set_data_from_numpy(np.array([[4]], np.float32))
        assert client.infer("two", inputs).as_numpy("product").tolist() == [[4, 4, 4]]
        client.unregister_system_shared_memory()


def test_texts_go_there_and_back_through_shared_memory(client: Any) -> None:
    texts = np.array(["é", "", "a\0"], object)
    raw = serialize_byte_tensor(np.array([t.encode() for t in texts], object))
    size = len(raw.item())
    with region(2 * size) as (key, handle):
        shm.set_shared_memory_region(handle, [raw])
        client.register_system_shared_memory("r", key, 2 * size)
        source = triton.InferInput("x", [3], "BYTES")
        source.set_shared_memory("r", size)
        target = triton.InferRequestedOutput("y")
        target.set_shared_memory("r", size, size)
        client.infer("text", [source], outputs=[target])
        got = shm.get_contents_as_numpy(handle, np.object_, [3], size)
        assert [b.decode() for b in got] == texts.tolist()
        client.unregister_system_shared_memory("r")


def test_what_does_not_fit_is_refused_by_name(client: Any) -> None:
    with region(24) as (key, _):
        with pytest.raises(InferenceServerException, match="25 bytes at 0"):
            client.register_system_shared_memory("r", key, 25)
        client.register_system_shared_memory("r", key, 24)
        with pytest.raises(InferenceServerException, match="already"):
            client.register_system_shared_memory("r", key, 24)
        x = triton.InferInput("x", [2, 3], "FP32")
        x.set_shared_memory("r", 24, 4)
        scale = triton.InferInput("scale", [2, 1], "FP32")
        scale.set_data_from_numpy(np.ones((2, 1), np.float32))
        with pytest.raises(InferenceServerException, match="no 24 bytes at 4, it has 24"):
            client.infer("two", [x, scale])
        x.set_data_from_numpy(np.ones((2, 3), np.float32))
        target = triton.InferRequestedOutput("total")
        target.set_shared_memory("r", 20)
        with pytest.raises(InferenceServerException, match=r"output 'total': 24 bytes.*gives 20"):
            client.infer("two", [x, scale], outputs=[target])
        client.unregister_system_shared_memory("r")


def test_classes_are_the_highest_values_with_their_places(client: Any) -> None:
    inputs = [triton.InferInput("x", [2, 3], "FP32"), triton.InferInput("scale", [2, 1], "FP32")]
    inputs[0].set_data_from_numpy(np.array([[1, 3, 2], [9, 7, 8]], np.float32))
    inputs[1].set_data_from_numpy(np.ones((2, 1), np.float32))
    wanted = [triton.InferRequestedOutput("product", class_count=2)]
    result = client.infer("two", inputs, outputs=wanted)
    assert result.as_numpy("product").tolist() == [
        [b"3.000000:1", b"2.000000:2"],
        [b"9.000000:0", b"8.000000:2"],
    ]
