"""The seam between front and service, from both sides: any front, any bytes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.addresses import Address
from fogline.clock import wait_until
from fogline.errors import FoglineError, Unsupported
from fogline.tensors import DATATYPES, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fogline.wire.services import METHODS
from fogline.wire.status import Status, status_of
from fogline_edge.serving import Call, Endpoint, Front
from fogline_edge.serving.calls import FrontCounts, OnReady, Peer, nothing
from tests import models
from tests.serving import INFER, Notebook, models_of, served_model, server_of


class PolledCall:
    """A call of an event loop: its answer is looked at later."""

    def __init__(self, method: str, message: bytes) -> None:
        self.method = method
        self.message = message
        self.peer = Peer(transport="tcp")
        self.metadata: Mapping[str, str | bytes] = {}
        self.deadline_s: float | None = None
        self.sent: list[bytes] = []
        self.outcomes: list[bytes | FoglineError | None] = []

    def is_cancelled(self) -> bool:
        return False

    def when_ended(self, callback: Callable[[], None]) -> None:
        pass

    def is_writable(self) -> bool:
        return True

    def when_writable(self, callback: Callable[[], None]) -> None:
        callback()

    def hold(self, more: int) -> None:
        pass

    def receive(self, take: Callable[[bytes | None], None]) -> None:
        """The peer has not sent any."""

    def send(self, response: bytes) -> None:
        self.sent.append(response)

    def finish(self, response: bytes | None) -> None:
        self.outcomes.append(response)

    def fail(self, error: FoglineError) -> None:
        self.outcomes.append(error)


class PollingFront:
    """Hands over the calls of one poll together, as an event loop does."""

    def __init__(self) -> None:
        self.on_ready: OnReady | None = None
        self.is_drained = False

    def start(
        self, on_ready: OnReady, on_written: Callable[[], None] = nothing
    ) -> tuple[Endpoint, ...]:
        self.on_ready = on_ready
        self.on_written = on_written
        return (Endpoint(address=Address("127.0.0.1", 1)),)

    def drain(self, grace_s: float) -> None:
        self.is_drained = True

    def counts(self) -> FrontCounts:
        raise NotImplementedError

    def poll(self, *calls: PolledCall) -> None:
        ready: list[Call] = list(calls)
        assert self.on_ready is not None
        self.on_ready(ready)
        self.on_written()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PollingFront]:
    folder: Path = tmp_path_factory.mktemp("models")
    served = [served_model(models.save_identity(folder / f"{d}.onnx", d), d) for d in DATATYPES]
    polling = PollingFront()
    adapter: Front = polling
    server = server_of(models_of(*served), front=adapter, observer=Notebook())
    server.start()
    yield polling
    server.drain()
    assert polling.is_drained


def infer(value: float, name: str = "FP32") -> PolledCall:
    request = ModelInferRequest(model_name=name)
    encode_inputs(request, {"x": np.full((1, 2), value, np.float32)})
    return PolledCall(INFER, request.SerializeToString())


def test_the_calls_of_one_poll_are_each_answered_once(front: PollingFront) -> None:
    calls = [infer(1), infer(2, "nobody"), PolledCall("/a.B/C", b""), infer(3)]
    front.poll(*calls)
    assert wait_until(lambda: all(c.outcomes for c in calls), timeout_s=10)
    (one,), (two,), (three,), (four,) = (c.outcomes for c in calls)
    for value, outcome in ((1, one), (3, four)):
        assert isinstance(outcome, bytes)
        raw = ModelInferResponse.FromString(outcome).raw_output_contents[0]
        assert np.frombuffer(raw, np.float32).tolist() == [value, value]
    assert isinstance(two, FoglineError)
    assert isinstance(three, Unsupported)


ANSWERS = {
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.UNIMPLEMENTED,
    Status.PERMISSION_DENIED,  # of what steers the server
    Status.FAILED_PRECONDITION,  # of feedback, without an agent
    Status.DEADLINE_EXCEEDED,  # of the parameter `timeout`
}


def ask(front: PollingFront, path: str, message: bytes) -> None:
    """Any bytes are answered, or refused as the caller's fault; never as ours."""
    call = PolledCall(path, message)
    front.poll(call)
    if path.endswith("/Watch") and call.sent:
        return
    assert wait_until(lambda: bool(call.outcomes), timeout_s=10)
    (outcome,) = call.outcomes
    if isinstance(outcome, FoglineError):
        assert status_of(outcome) in ANSWERS, outcome
    else:
        assert outcome is not None
        METHODS[path].response.FromString(outcome)


UNARY = sorted(p for p in METHODS if not METHODS[p].streams_requests and "Watch" not in p)


@given(st.sampled_from(UNARY), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_to_any_method_are_answered_or_refused(
    front: PollingFront, path: str, message: bytes
) -> None:
    ask(front, path, message)


CONTENTS = {
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "bytes_contents": st.binary(max_size=4),
    "bool_contents": st.booleans(),
}


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """Messages that are almost right."""
    request = ModelInferRequest(model_name=draw(st.sampled_from([*DATATYPES, "", "z"])))
    for _ in range(draw(st.integers(0, 2))):
        tensor = request.inputs.add(
            name=draw(st.sampled_from(["x", "y"])),
            datatype=draw(st.sampled_from([*DATATYPES, "BF16", ""])),
            shape=draw(st.lists(st.sampled_from([0, 1, 2, -1, 2**62]), max_size=3)),
        )
        if draw(st.booleans()):
            field = draw(st.sampled_from(sorted(CONTENTS)))
            values = draw(st.lists(CONTENTS[field], max_size=4))
            getattr(tensor.contents, field).extend(values)
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=16), max_size=2)))
    for name in draw(st.lists(st.sampled_from(["y", "z"]), max_size=2)):
        request.outputs.add(name=name)
    for key in draw(st.lists(st.sampled_from(["event_time_us", "timeout", "other"]), max_size=2)):
        request.parameters[key].int64_param = draw(st.integers(-5, 2**40))
    data = bytearray(request.SerializeToString())
    if data and draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
    return bytes(data)


@given(near_misses())
@settings(max_examples=400, deadline=None)
def test_almost_right_requests_are_answered_or_refused(front: PollingFront, message: bytes) -> None:
    ask(front, INFER, message)
