"""gRPC reflection as clients without our protos use it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from fogline.wire.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from fogline.wire.services import EDGE_SERVICE, HEALTH_SERVICE, INFERENCE_SERVICE
from fogline_edge.serving.calls import Call
from fogline_edge.serving.reflection import METHODS, Reflection
from tests.fronts import ANYWHERE, channel_to, failure_of, front_of

SERVICES = (INFERENCE_SERVICE, HEALTH_SERVICE)
Request = ServerReflectionRequest


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    reflection = Reflection(SERVICES)

    def on_ready(calls: Sequence[Call]) -> None:
        for call in calls:
            assert call.method in METHODS
            reflection.converse(call)

    front = front_of(request.param, [ANYWHERE])
    (endpoint,) = front.start(on_ready)
    yield str(endpoint)
    front.drain(0.1)


def ask(address: str, *requests: ServerReflectionRequest, path: str = METHODS[0]) -> list[Any]:
    with channel_to(address) as one:
        call = one.channel.stream_stream(
            path,
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        return list(call(iter(requests), timeout=20))


@pytest.mark.parametrize("path", METHODS)
def test_the_services_are_listed(address: str, path: str) -> None:
    (answer,) = ask(address, Request(host="h", list_services="*"), path=path)
    names = [service.name for service in answer.list_services_response.service]
    assert names == sorted([*SERVICES, *(p.split("/")[1] for p in METHODS)])
    assert answer.valid_host == "h"
    assert answer.original_request.list_services == "*"


def test_a_client_can_call_what_it_has_learned(address: str) -> None:
    (answer,) = ask(address, Request(file_containing_symbol=INFERENCE_SERVICE))
    pool = DescriptorPool()
    files = [
        FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]
    for file in reversed(files):
        pool.Add(file)
    method = pool.FindServiceByName(INFERENCE_SERVICE).methods_by_name["ModelInfer"]
    assert GetMessageClass(method.input_type)(model_name="m").SerializeToString()


def test_many_questions_of_one_call_are_answered_in_turn(address: str) -> None:
    answers = ask(
        address,
        Request(file_by_filename="health.proto"),
        Request(file_containing_symbol="grpc.health.v1.HealthCheckRequest"),
        Request(file_containing_symbol=f"{HEALTH_SERVICE}.Check"),
        Request(all_extension_numbers_of_type="grpc.health.v1.HealthCheckRequest"),
    )
    first = answers[0].file_descriptor_response
    assert FileDescriptorProto.FromString(first.file_descriptor_proto[0]).name == "health.proto"
    assert answers[1].file_descriptor_response == first
    assert answers[2].file_descriptor_response == first
    assert not answers[3].all_extension_numbers_response.extension_number


@pytest.mark.parametrize(
    "request_",
    [
        Request(file_by_filename="fleet.proto"),
        Request(file_containing_symbol="no.such.Thing"),
        Request(file_containing_symbol=EDGE_SERVICE),
        Request(all_extension_numbers_of_type="no.such.Thing"),
        Request(
            file_containing_extension={
                "containing_type": "grpc.health.v1.HealthCheckRequest",
                "extension_number": 7,
            }
        ),
    ],
)
def test_what_is_not_known_or_not_served_is_an_error_in_the_answer(
    address: str, request_: ServerReflectionRequest
) -> None:
    answers = ask(address, request_, Request(list_services=""))
    assert answers[0].error_response.error_code == 5
    assert answers[1].list_services_response.service


def test_a_question_of_nothing_and_no_question(address: str) -> None:
    (answer,) = ask(address, Request())
    assert answer.error_response.error_code == 3
    with channel_to(address) as one:
        stream = one.channel.stream_stream(METHODS[0])
        code, _ = failure_of(lambda: list(stream(iter([b"\xff\xff"]), timeout=20)))
        assert code == "INVALID_ARGUMENT"
