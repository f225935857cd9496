"""What the serving benchmarks judge by: requests, right answers, bars and slopes."""

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving_rig import workloads
from benchmarks.serving_rig.report import Bar
from benchmarks.serving_rig.trend import slope
from benchmarks.serving_rig.workloads import Workload
from fogline.tensors import decode_inputs, encode_outputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return workloads.small_mlp(tmp_path_factory.mktemp("rig"))


def bodies(workload: Workload, kind: str) -> list[tuple[int, bytes]]:
    """(offset of the id, body) of each request of a pool's file."""
    data = workload.pools[kind].file.read_bytes()
    (count,), at, found = struct.unpack_from("<I", data), 4, []
    for _ in range(count):
        length, offset = struct.unpack_from("<II", data, at)
        found.append((offset, data[at + 8 : at + 8 + length]))
        at += 8 + length
    assert at == len(data)
    return found


def answer(workload: Workload, index: int, sent_id: str, change: float = 0.0) -> bytes:
    outputs = {n: a + a.dtype.type(change) for n, a in workload.expected["varied"][index].items()}
    response = ModelInferResponse(model_name=workload.name, id=sent_id)
    encode_outputs(response, outputs)
    return response.SerializeToString()


def test_varied_requests_have_an_id_that_can_be_replaced_and_all_sizes(mlp: Workload) -> None:
    found = bodies(mlp, "varied")
    sizes = set()
    for offset, body in found[:500]:
        sent = body[:offset] + b"f" * 16 + body[offset + 16 :]
        assert struct.unpack(">BI", sent[:5]) == (0, len(sent) - 5)
        request = ModelInferRequest.FromString(sent[5:])
        assert request.id == "f" * 16
        sizes.add(len(decode_inputs(request)["x"]))
    assert sizes == set(range(1, 9))


def test_identical_requests_are_one_request_without_an_id(mlp: Workload) -> None:
    ((offset, body),) = bodies(mlp, "identical")
    assert offset == workloads.NO_ID
    assert ModelInferRequest.FromString(body[5:]).id == ""
    assert mlp.first_message() == body[5:]


def test_right_answers_are_told_from_wrong_ones(mlp: Workload) -> None:
    expected = mlp.expected["varied"][3]
    assert mlp.mistake(answer(mlp, 3, "a"), expected, "a") == ""
    assert mlp.mistake(answer(mlp, 3, "a", 1e-7), expected, "a") == ""
    assert "id" in mlp.mistake(answer(mlp, 3, "a"), expected, "b")
    assert "label" in mlp.mistake(answer(mlp, 3, "a", 1.0), expected, "a")


def test_kept_answers_are_judged_by_their_place_in_the_pool(mlp: Workload, tmp_path: Path) -> None:
    kept = b""
    for index, sent_id, change in ((0, b"0" * 16, 0.0), (1, b"1" * 16, 1.0)):
        body = b"\0\0\0\0\0" + answer(mlp, index, sent_id.decode(), change)
        kept += struct.pack("<I16sI", index, sent_id, len(body)) + body
    samples = tmp_path / "samples"
    samples.write_bytes(kept)
    (mistake,) = mlp.mistakes(samples, "varied")
    assert "request 1" in mistake


@pytest.mark.parametrize(
    ("value", "is_floor", "passes"),
    [(9.0, False, True), (11.0, False, False), (11.0, True, True), (9.0, True, False)],
)
def test_a_bar_is_a_ceiling_or_a_floor(value: float, is_floor: bool, passes: bool) -> None:
    bar = Bar(name="b", value=value, limit=10.0, unit="us", is_floor=is_floor)
    assert bar.passes is passes
    assert str(bar).startswith("pass" if passes else "FAIL")


def test_a_slope_is_found_through_noise_whose_neighbours_are_alike() -> None:
    generator = np.random.default_rng(2)
    times = np.linspace(0.0, 1.0, 720)
    noise = np.convolve(generator.normal(size=739), np.full(20, 0.05), "valid")
    found = slope(times, 50.0 + 20.0 * times + noise)
    assert found.low < 20.0 < found.high
    assert found.low > 0.0


def test_steps_that_stay_are_no_slope() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        walk = np.cumsum(generator.normal(size=720) * (generator.random(720) < 0.02))
        found = slope(np.linspace(0.0, 1.0, 720), walk)
        held += found.low <= 0.0 <= found.high
    assert held >= 88  # of 95 expected
    with pytest.raises(ValueError, match="too few"):
        slope(np.arange(10.0), np.arange(10.0))
