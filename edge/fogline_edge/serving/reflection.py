"""gRPC server reflection: tells clients without our protos what services and messages there are.

Answers from the private descriptor pool, for the given services and what their files need, and for
nothing else that the process has loaded. Source: the published GRPC Server Reflection Protocol
(`doc/server-reflection.md` of grpc/grpc), v1; v1alpha has the same messages.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline.wire.pool import POOL
from fogline.wire.reflection_pb2 import (
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)
from fogline.wire.services import REFLECTION_SERVICES
from fogline.wire.status import status_of
from fogline_edge.serving.calls import Call

METHODS = tuple(f"/{service}/ServerReflectionInfo" for service in REFLECTION_SERVICES)
"""Paths of the calls that `Reflection.converse` takes."""


class Reflection:
    """Answers one request of a call after the other."""

    def __init__(self, services: Iterable[str], pool: DescriptorPool = POOL) -> None:
        """Looks the services up.

        Args:
            services: Full names, as `inference.GRPCInferenceService`; all are in the pool.
            pool: Where their descriptors are.
        """
        self._services = tuple(sorted({*services, *REFLECTION_SERVICES}))
        self._pool = pool
        files: dict[str, FileDescriptor] = {}
        for service in self._services:
            for file in _with_dependencies(pool.FindFileContainingSymbol(service)):
                files[file.name] = file
        self._files: Mapping[str, FileDescriptor] = MappingProxyType(files)

    def converse(self, call: Call) -> None:
        """Takes a call over, to the end of its peer's stream."""
        call.receive(self._taker(call))

    def answer(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """One answer; an unknown name is an error in it, not of the call."""
        response = ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._fill(response, request)
        except FoglineError as e:
            error = ErrorResponse(error_code=status_of(e), error_message=str(e))
            response.error_response.CopyFrom(error)
        return response

    def _taker(self, call: Call) -> Callable[[bytes | None], None]:
        def take(message: bytes | None) -> None:
            if message is None:
                call.finish(None)
                return
            try:
                request = ServerReflectionRequest.FromString(message)
            except DecodeError:
                call.fail(InvalidInput("the message is no ServerReflectionRequest"))
                return
            call.send(self.answer(request).SerializeToString())
            # No request is taken while the peer does not read the answers.
            call.when_writable(lambda: call.receive(take))

        return take

    def _fill(self, response: ServerReflectionResponse, request: ServerReflectionRequest) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                names = [ServiceResponse(name=name) for name in self._services]
                response.list_services_response.CopyFrom(ListServiceResponse(service=names))
            case "file_by_filename":
                found = _encoded(self._file(request.file_by_filename))
                response.file_descriptor_response.CopyFrom(found)
            case "file_containing_symbol":
                found = _encoded(self._file_of(request.file_containing_symbol))
                response.file_descriptor_response.CopyFrom(found)
            case "file_containing_extension":
                asked = request.file_containing_extension
                self._check_message(asked.containing_type)
                raise NotFound(
                    f"{asked.containing_type[:200]} has no extension {asked.extension_number}"
                )
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                self._check_message(name)  # proto3 messages have no extensions
                response.all_extension_numbers_response.CopyFrom(
                    ExtensionNumberResponse(base_type_name=name)
                )
            case _:
                raise InvalidInput("the request asks for nothing")

    def _file(self, name: str) -> FileDescriptor:
        try:
            return self._files[name]
        except KeyError:
            raise NotFound(f"no file {name[:200]!r}") from None

    def _file_of(self, symbol: str) -> FileDescriptor:
        try:
            return self._file(self._name_of_file(symbol))
        except (KeyError, NotFound):
            raise NotFound(f"no symbol {symbol[:200]!r}") from None

    def _name_of_file(self, symbol: str) -> str:
        """Raises `KeyError` for an unknown symbol; the pool itself knows no methods."""
        service, _, method = symbol.rpartition(".")
        if service in self._services:
            found = self._pool.FindServiceByName(service)
            return str(found.methods_by_name[method].containing_service.file.name)
        return str(self._pool.FindFileContainingSymbol(symbol).name)

    def _check_message(self, name: str) -> None:
        try:
            found = self._pool.FindMessageTypeByName(name)
        except KeyError:
            raise NotFound(f"no message {name[:200]!r}") from None
        self._file(found.file.name)


def _with_dependencies(file: FileDescriptor) -> list[FileDescriptor]:
    """The file first, and each file once."""
    found = {file.name: file}
    waiting = list(file.dependencies)
    while waiting:
        one = waiting.pop()
        if one.name not in found:
            found[one.name] = one
            waiting += one.dependencies
    return list(found.values())


def _encoded(file: FileDescriptor) -> FileDescriptorResponse:
    return FileDescriptorResponse(
        file_descriptor_proto=[one.serialized_pb for one in _with_dependencies(file)]
    )
