"""The Open Inference Protocol as tritonclient speaks it, and as raw messages do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline import __version__
from fogline.tensors import DATATYPES, decode_outputs
from fogline.wire.open_inference_pb2 import ModelInferRequest
from tests import models
from tests.serving import INFER, Notebook, models_of, raw_channel, running, served_model


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of an identity for each datatype and of the other small models."""
    folder = tmp_path_factory.mktemp("models")
    served = [
        served_model(models.save_identity(folder / f"{d}.onnx", d), f"identity-{d}")
        for d in DATATYPES
    ]
    for name, save in (
        ("iris", models.save_classifier),
        ("two", models.save_two_inputs),
        ("gather", models.save_gather),
    ):
        served.append(served_model(save(folder / f"{name}.onnx"), name))
    served.append(
        served_model(models.save_identity(folder / "fixed.onnx", shape=(2, 2)), "fixed", 7)
    )
    with running(models_of(*served), observer=Notebook()) as where:
        yield where


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(address)
    yield made
    made.close()


def triton_input(name: str, array: np.ndarray, datatype: str) -> Any:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def test_a_client_sees_server_and_model_alive(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")
    for name, version in (("iris", "2"), ("iris", "x"), ("nobody", "")):
        assert not client.is_model_ready(name, version)


def test_a_client_reads_the_metadata(client: triton.InferenceServerClient) -> None:
    server = client.get_server_metadata(as_json=True)
    assert (server["name"], server["version"]) == ("fogline", __version__)
    model = client.get_model_metadata("iris", as_json=True)
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
    assert [(o["name"], o["datatype"]) for o in model["outputs"]] == [
        ("label", "INT64"),
        ("probabilities", "FP32"),
    ]
    with pytest.raises(triton.InferenceServerException, match="no model 'nobody'") as caught:
        client.get_model_metadata("nobody")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_comes_back_unchanged(
    client: triton.InferenceServerClient, datatype: str
) -> None:
    array: Any
    if datatype == "BYTES":
        array = np.array([[b"a\0\0", b""], ["é".encode(), b"\0"]], object)
    elif datatype.startswith("FP"):
        array = np.array([[np.nan, -0.0], [np.inf, 1.5]], DATATYPES[datatype])
    elif datatype == "BOOL":
        array = np.array([[True, False]])
    else:
        info = np.iinfo(DATATYPES[datatype])
        array = np.array([[info.min, info.max]], DATATYPES[datatype])
    result = client.infer(f"identity-{datatype}", [triton_input("x", array, datatype)])
    answer = result.as_numpy("y")
    assert answer.dtype == array.dtype
    assert answer.shape == array.shape
    if datatype == "BYTES":
        assert answer.tolist() == array.tolist()
    else:
        assert answer.tobytes() == array.tobytes()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(2))))
def test_any_floats_come_back_bit_for_bit(address: str, array: np.ndarray) -> None:
    client = triton.InferenceServerClient(address)
    result = client.infer("identity-FP32", [triton_input("x", array, "FP32")])
    assert result.as_numpy("y").tobytes() == array.tobytes()
    client.close()


def test_answers_equal_onnxruntime_bit_for_bit(
    client: triton.InferenceServerClient, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = models.save_classifier(tmp_path / "m.onnx")
    native = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for row in np.random.default_rng(1).normal(size=(50, 1, 4)).astype(np.float32):
        label, probabilities = native.run(None, {"x": row})
        result = client.infer("iris", [triton_input("x", row, "FP32")])
        assert result.as_numpy("label").tobytes() == label.tobytes()
        assert result.as_numpy("probabilities").tobytes() == probabilities.tobytes()


def test_inputs_go_by_name_and_wanted_outputs_come_in_order(
    client: triton.InferenceServerClient,
) -> None:
    x = triton_input("x", np.ones((2, 3), np.float32), "FP32")
    scale = triton_input("scale", np.full((2, 1), 3, np.float32), "FP32")
    result = client.infer("two", [scale, x], request_id="r-1")
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("r-1", "two", "1")
    assert result.as_numpy("product").tolist() == [[3.0] * 3] * 2
    assert result.as_numpy("total").tolist() == [[4.0] * 3] * 2
    wanted = [triton.InferRequestedOutput("total")]
    result = client.infer("two", [x, scale], outputs=wanted)
    assert result.as_numpy("product") is None
    assert result.as_numpy("total").tolist() == [[4.0] * 3] * 2


def test_a_version_is_asked_for_by_its_number(client: triton.InferenceServerClient) -> None:
    x = triton_input("x", np.ones((2, 2), np.float32), "FP32")
    assert client.infer("fixed", [x], model_version="7").get_response().model_version == "7"
    assert client.infer("fixed", [x]).get_response().model_version == "7"
    for version in ("1", "seven", "-7", "99999999999"):
        with pytest.raises(triton.InferenceServerException, match="'fixed'") as caught:
            client.infer("fixed", [x], model_version=version)
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_the_answer_carries_the_prediction_id(client: triton.InferenceServerClient) -> None:
    x = triton_input("x", np.ones((2, 2), np.float32), "FP32")
    parameters = client.infer("fixed", [x]).get_response().parameters
    assert parameters["prediction_id"].string_param.startswith("p-")


def typed_request(**contents: Any) -> ModelInferRequest:
    (field, values), *_ = contents.items()
    datatype = {"bool": "BOOL", "int": "INT32", "int64": "INT64", "uint": "UINT32",
                "uint64": "UINT64", "fp32": "FP32", "fp64": "FP64", "bytes": "BYTES"}[
        field.removesuffix("_contents")
    ]  # fmt: skip
    request = ModelInferRequest(model_name=f"identity-{datatype}")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    return request


@pytest.mark.parametrize(
    "contents",
    [
        {"bool_contents": [True, False]},
        {"int_contents": [-1, 2]},
        {"int64_contents": [-(2**63), 2]},
        {"uint_contents": [0, 2**32 - 1]},
        {"uint64_contents": [0, 2**64 - 1]},
        {"fp32_contents": [0.5, -1]},
        {"fp64_contents": [0.1, -1]},
        {"bytes_contents": [b"a\0", b""]},
    ],
)
def test_typed_contents_are_taken_and_answered_raw(address: str, contents: dict[str, Any]) -> None:
    request = typed_request(**contents)
    with raw_channel(address) as channel:
        response = channel.call(INFER, request)
    assert len(response.raw_output_contents) == 1
    assert not response.outputs[0].HasField("contents")
    (values,) = contents.values()
    expected = [v.decode() for v in values] if "bytes_contents" in contents else values
    assert decode_outputs(response)["y"].tolist() == [expected]


def test_zero_rows_are_answered_where_the_graph_allows_it(
    client: triton.InferenceServerClient,
) -> None:
    result = client.infer(
        "identity-FP32", [triton_input("x", np.zeros((0, 2), np.float32), "FP32")]
    )
    assert result.as_numpy("y").shape == (0, 2)
    with pytest.raises(triton.InferenceServerException, match="the request has no rows") as caught:
        client.infer("iris", [triton_input("x", np.zeros((0, 4), np.float32), "FP32")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
