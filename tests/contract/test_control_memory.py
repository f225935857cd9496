"""Shared memory as the calls of the protocol register it."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fogline.errors import Forbidden, InvalidInput, NotFound, Unsupported
from fogline.wire.open_inference_pb2 import (
    CudaSharedMemoryRegisterRequest,
    SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryStatusRequest,
    SystemSharedMemoryUnregisterRequest,
)
from fogline.wire.services import METHODS
from fogline_edge.serving.calls import Peer
from fogline_edge.serving.control import Control, FixedModels
from fogline_edge.serving.models import Models
from fogline_edge.serving.shared_memory import Regions

PATH = "/inference.GRPCInferenceService/SystemSharedMemoryRegister"


@dataclass
class Asked:
    """The part of a call that a registration looks at."""

    message: bytes
    peer: Peer = field(default_factory=lambda: Peer(transport="unix", uid=os.geteuid()))
    method: str = PATH
    finished: list[bytes | None] = field(default_factory=list)

    def finish(self, response: bytes | None) -> None:
        self.finished.append(response)


def control(regions: Regions | None) -> Control:
    models = Models()
    fixed = FixedModels(models, owner="a test")
    return Control(models, fixed, logging.Logger("x"), regions)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input").write_bytes(b"\0" * 100)
    return tmp_path


def registration(size: int = 60) -> bytes:
    return SystemSharedMemoryRegisterRequest(
        name="in", key="/input", offset=40, byte_size=size
    ).SerializeToString()


def test_a_region_is_registered_told_and_forgotten(folder: Path) -> None:
    made = control(Regions(folder=folder))
    call = Asked(registration())
    made.conversations[PATH](call)  # type: ignore[arg-type]
    assert call.finished == [b""]
    (region,) = made.memory_status(SystemSharedMemoryStatusRequest()).regions.values()
    assert (region.name, region.key, region.offset, region.byte_size) == ("in", "/input", 40, 60)
    assert made.memory_status(SystemSharedMemoryStatusRequest(name="in")).regions.keys() == {"in"}
    made.unregister_memory(SystemSharedMemoryUnregisterRequest(name="in"))
    with pytest.raises(NotFound):
        made.memory_status(SystemSharedMemoryStatusRequest(name="in"))
    assert not made.memory_status(SystemSharedMemoryStatusRequest()).regions


def test_a_file_is_registered_for_its_owner_alone(folder: Path) -> None:
    stranger = Peer(transport="unix", uid=4711)
    with pytest.raises(Forbidden, match="another user's"):
        control(Regions(folder=folder)).register_memory(
            Asked(registration(), stranger)  # type: ignore[arg-type]
        )


def test_what_is_no_registration_is_refused(folder: Path) -> None:
    made = control(Regions(folder=folder))
    for message in (b"\xff", registration(61), registration(0)):
        with pytest.raises(InvalidInput):
            made.register_memory(Asked(message))  # type: ignore[arg-type]


def test_memory_of_a_gpu_is_not_served(folder: Path) -> None:
    made = control(Regions(folder=folder))
    cuda = [path for path in METHODS if "CudaSharedMemory" in path]
    assert len(cuda) == 3
    for path in cuda:
        with pytest.raises(Unsupported, match="CUDA"):
            made.answers[path](CudaSharedMemoryRegisterRequest())


def test_a_server_without_regions_says_so() -> None:
    with pytest.raises(Unsupported, match="no shared memory"):
        control(None).memory_status(SystemSharedMemoryStatusRequest())
