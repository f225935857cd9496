"""A peer that only knows the name of a region reaches nothing of it."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fogline.records import convert
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import (
    ModelInferRequest,
    ModelStreamInferResponse,
    SystemSharedMemoryRegisterRequest,
)
from fogline_edge.serving import Listener, Server, ServingConfig
from fogline_edge.serving.access import Access
from fogline_edge.serving.tokens import Token
from tests.models import save_identity
from tests.serving import ANYWHERE, INFER, models_of, raw_channel, served_model

REGISTER = "/inference.GRPCInferenceService/SystemSharedMemoryRegister"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
SECRET = "s" * 40


@pytest.fixture
def shared() -> Iterator[Path]:
    """A file of shared memory of this user's."""
    path = Path("/dev/shm") / f"fogline-{uuid.uuid4().hex}"
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    yield path
    path.unlink()


@contextmanager
def serving(folder: Path, shared: Path) -> Iterator[tuple[Any, Any]]:
    """Channels by TCP and by Unix socket, to a server where the owner has registered `r`."""
    models = models_of(served_model(save_identity(folder / "m.onnx")))
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    plain = {"name": "app", "sha256": digest, "rights": ["memory"]}
    access = Access(tokens=(convert(plain, Token, "token"),))
    listeners = (Listener(address=ANYWHERE), Listener(address=folder / "s"))
    server = Server(listeners, models, access=access, config=ServingConfig())
    tcp, unix = server.start()
    try:
        with raw_channel(str(tcp)) as near, raw_channel(str(unix)) as own:
            region = SystemSharedMemoryRegisterRequest(
                name="r", key=f"/{shared.name}", offset=0, byte_size=16
            )
            own.send(REGISTER, region.SerializeToString())
            yield near, own
    finally:
        server.drain()


def reading() -> bytes:
    """The answer would hold the region's contents."""
    request = ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = 16
    data: bytes = request.SerializeToString()
    return data


def writing() -> bytes:
    """The region would hold the answer."""
    request = ModelInferRequest(model_name="m")
    encode_inputs(request, {"x": np.full((2, 2), 7, np.float32)})
    wanted = request.outputs.add(name="y")
    wanted.parameters["shared_memory_region"].string_param = "r"
    wanted.parameters["shared_memory_byte_size"].int64_param = 16
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize("make", [reading, writing])
def test_regions_are_for_those_who_may_register_them(
    tmp_path: Path, shared: Path, make: Any
) -> None:
    with serving(tmp_path, shared) as (near, own):
        before = shared.read_bytes()
        for _ in range(2):  # the second time its layout is known
            with pytest.raises(grpc.RpcError) as caught:
                near.send(INFER, make())
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "the right 'memory'" in caught.value.details()
        assert shared.read_bytes() == before
        near.send(INFER, make(), metadata=(("authorization", f"Bearer {SECRET}"),))
        own.send(INFER, make())
        assert (shared.read_bytes() == before) == (make is reading)


def test_a_stream_is_no_way_around(tmp_path: Path, shared: Path) -> None:
    with serving(tmp_path, shared) as (near, _):
        (answer,) = near.channel.stream_stream(STREAM)(iter([reading()]))
        assert "the right 'memory'" in ModelStreamInferResponse.FromString(answer).error_message
