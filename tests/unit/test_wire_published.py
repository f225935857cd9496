"""Our protocol is the published one: every number and type agrees with the official packages."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from fogline.wire import model_config_pb2, open_inference_pb2

TRITON = "tritonclient/grpc/service_pb2.py", "tritonclient/grpc/model_config_pb2.py"
KSERVE = ("kserve/protocol/grpc/grpc_predict_v2_pb2.py",)

# In a process of its own: the official packages all claim the default pool's package `inference`.
LOAD = """
import importlib.util, sys
for path in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location(path.rsplit("/", 1)[-1][:-3], path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, sys.argv[1])
    spec.loader.exec_module(module)
    print(module.DESCRIPTOR.serialized_pb.hex())
"""


def published(*names: str) -> dict[str, str]:
    """What the official modules declare: a line for each field, value and method by its name."""
    package = importlib.util.find_spec(names[0].split("/")[0])
    assert package is not None
    assert package.origin is not None
    root = Path(package.origin).parent.parent
    paths = [str(root / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(root), *reversed(paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [FileDescriptorProto.FromString(bytes.fromhex(t)) for t in done.stdout.split()]
    return dict(line for file in files for line in declared(file))


def ours() -> dict[str, str]:
    lines: dict[str, str] = {}
    for module in (open_inference_pb2, model_config_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        lines |= dict(declared(file))
    return lines


def declared(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for message in file.message_type:
        yield from fields(message, message.name)
    for enum in file.enum_type:
        yield from values(enum, enum.name)
    for service in file.service:
        for m in service.method:
            ways = f"{m.client_streaming} {m.server_streaming}"
            yield f"{service.name}.{m.name}", f"{m.input_type} {m.output_type} {ways}"


def fields(message: DescriptorProto, path: str) -> Iterator[tuple[str, str]]:
    yield path, "message"
    for f in message.field:
        oneof = message.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else ""
        kind = FieldDescriptorProto.Type.Name(f.type)
        yield f"{path}.{f.name}", f"{f.number} {f.label} {kind} {f.type_name} {oneof}"
    for nested in message.nested_type:
        yield from fields(nested, f"{path}.{nested.name}")
    for enum in message.enum_type:
        yield from values(enum, f"{path}.{enum.name}")


def values(enum: EnumDescriptorProto, path: str) -> Iterator[tuple[str, str]]:
    for value in enum.value:
        yield f"{path}.{value.name}", str(value.number)


def test_our_messages_are_those_of_the_triton_client() -> None:
    assert ours() == published(*TRITON)


def test_our_messages_agree_with_those_of_the_kserve_client() -> None:
    mine, theirs = ours(), published(*KSERVE)
    shared = mine.keys() & theirs.keys()
    # KServe has no repository name, so its model name stands where Triton has one; the handlers
    # of both calls take either.
    assert {name for name in shared if mine[name] != theirs[name]} == {
        "RepositoryModelLoadRequest.model_name",
        "RepositoryModelUnloadRequest.model_name",
    }
    assert "GRPCInferenceService.ModelInfer" in shared
    assert "ModelInferRequest.raw_input_contents" in shared


@pytest.mark.parametrize("name", ["ModelStreamInfer", "RepositoryIndex", "LogSettings"])
def test_the_comparison_sees_methods(name: str) -> None:
    assert f"GRPCInferenceService.{name}" in ours()
