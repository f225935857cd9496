"""The methods of each gRPC service that Fogline knows, read from the private descriptor pool.

One table for both ends: the front routes by it, the client calls by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from fogline.wire import (
    edge_pb2,
    health_pb2,
    open_inference_pb2,
    reflection_pb2,
    reflection_v1alpha_pb2,
)


@dataclass(frozen=True, slots=True)
class Method:
    """One remote procedure: how it is called, and what goes in and out."""

    path: str
    """`/package.Service/Method`"""
    request: type[Message]
    response: type[Message]
    streams_requests: bool
    streams_responses: bool


def _methods(service: ServiceDescriptor) -> dict[str, Method]:
    return {
        (path := f"/{service.full_name}/{m.name}"): Method(
            path=path,
            request=GetMessageClass(m.input_type),
            response=GetMessageClass(m.output_type),
            streams_requests=m.client_streaming,
            streams_responses=m.server_streaming,
        )
        for m in service.methods
    }


INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
EDGE_SERVICE = "fogline.v1.Edge"
REFLECTION_SERVICES = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
"""By both names under which clients ask."""

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        path: method
        for module in (
            open_inference_pb2,
            health_pb2,
            edge_pb2,
            reflection_pb2,
            reflection_v1alpha_pb2,
        )
        for service in module.DESCRIPTOR.services_by_name.values()
        for path, method in _methods(service).items()
    }
)
"""Every method by its path."""
