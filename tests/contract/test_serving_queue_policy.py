"""What a model's own declaration says of how its requests wait."""

import dataclasses
from pathlib import Path

import grpc
import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving import ServingConfig
from fogline_edge.serving.queue_policy import QueuePolicy
from tests import models
from tests.serving import INFER, RawChannel, models_of, raw_channel, running, served_model


def loop(rounds: int, timeout_us: int = 0) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m")
    encode_inputs(request, {"n": np.array(rounds, np.int64)})
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    return request


def fault(channel: RawChannel, request: ModelInferRequest) -> str:
    """The status with which a request fails; empty if it does not."""
    try:
        channel.call(INFER, request, timeout=30)
    except grpc.RpcError as e:
        return str(e.code().name)
    return ""


@pytest.mark.parametrize(
    ("policy", "asked_us", "status"),
    [
        (QueuePolicy(timeout_us=20_000), 0, "DEADLINE_EXCEEDED"),
        (QueuePolicy(timeout_us=20_000), 20_000_000, ""),
        (QueuePolicy(timeout_us=20_000, is_timeout_fixed=True), 20_000_000, "DEADLINE_EXCEEDED"),
        (QueuePolicy(), 0, ""),
    ],
)
def test_a_request_has_the_time_that_its_model_gives_it(
    tmp_path: Path, policy: QueuePolicy, asked_us: int, status: str
) -> None:
    served = served_model(models.save_slow_loop(tmp_path / "m.onnx"))
    known = models_of(dataclasses.replace(served, queue=policy))
    with running(known) as address, raw_channel(address) as channel:
        assert fault(channel, loop(20_000, asked_us)) == status


def test_no_more_requests_wait_than_the_model_lets(tmp_path: Path) -> None:
    served = served_model(models.save_slow_loop(tmp_path / "m.onnx"))
    known = models_of(dataclasses.replace(served, queue=QueuePolicy(max_queued=1)))
    config = ServingConfig(max_running=1)
    with running(known, config=config) as address, raw_channel(address) as channel:
        calls = [
            channel.channel.unary_unary(INFER).future(loop(10_000_000).SerializeToString())
            for _ in range(3)
        ]
        assert wait_until(lambda: any(call.done() for call in calls), timeout_s=20)
        ended = [call for call in calls if call.done()]
        assert [call.code().name for call in ended] == ["RESOURCE_EXHAUSTED"]
        for call in calls:
            call.cancel()


def test_no_more_runs_of_a_model_go_on_than_it_lets(tmp_path: Path) -> None:
    path = models.save_slow_loop(tmp_path / "m.onnx")
    alone = dataclasses.replace(served_model(path), queue=QueuePolicy(max_running=1))
    other = served_model(path, "other")
    with (
        running(models_of(alone, other), config=ServingConfig(max_running=2)) as address,
        raw_channel(address) as channel,
    ):
        endless = loop(10_000_000).SerializeToString()
        first = channel.channel.unary_unary(INFER).future(endless)
        # Of two places one stays free, for others' requests alone.
        assert wait_until(lambda: fault(channel, loop(1, 200_000)) != "", timeout_s=20)
        request = loop(1)
        request.model_name = "other"
        assert fault(channel, request) == ""
        first.cancel()
        assert wait_until(lambda: fault(channel, loop(1, 1_000_000)) == "", timeout_s=20)


def test_a_priority_that_there_is_not_is_the_default() -> None:
    policy = QueuePolicy(priorities=3, default_priority=2)
    assert [policy.priority(asked) for asked in (0, 1, 3, 4)] == [2, 1, 3, 2]
    assert QueuePolicy().priority(7) == 7
