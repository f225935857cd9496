"""`fogline serve` and `fogline predict` as a newcomer types them."""

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from fogline import cli
from fogline.bundle import BundleDraft, VariantDraft, write_bundle
from fogline.clock import wait_until
from fogline.schema import Field, Schema
from fogline.tensors import encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from tests import models
from tests.serving import FOGLINE, INFER, RawChannel, raw_channel, serve_process


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands that run in this process configure its logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_classifier(tmp_path_factory.mktemp("models") / "iris.onnx")


def test_one_line_says_ready_and_sigterm_ends_with_zero(iris: Path) -> None:
    with serve_process(iris, "--name", "iris") as (process, address):
        client = triton.InferenceServerClient(address)
        x = triton.InferInput("x", [1, 4], "FP32")
        x.set_data_from_numpy(np.ones((1, 4), np.float32))
        assert client.infer("iris", [x]).as_numpy("label").shape == (1,)
        client.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == ""


def test_sigint_ends_with_zero_too(iris: Path) -> None:
    with serve_process(iris, "--name", "iris") as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


def test_calls_in_flight_end_well_while_new_ones_are_refused(tmp_path: Path) -> None:
    path = slow_bundle(tmp_path / "b")
    config = tmp_path / "bounds.toml"
    config.write_text("max_running = 1\n")
    with (
        serve_process(path, "--name", "loop", "--config", config) as (process, address),
        raw_channel(address) as channel,
    ):
        call = channel.channel.unary_unary(INFER).future(loop(120_000).SerializeToString())
        assert wait_until(lambda: "no run was free" in fault(channel, loop(1, 1000)), timeout_s=10)
        process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: is_refused(channel), timeout_s=10)
        assert not call.done()
        answer = ModelInferResponse.FromString(call.result(timeout=30))
        _, err = process.communicate(timeout=20)
    assert answer.model_name == "loop"
    assert process.returncode == 0, err


def slow_bundle(folder: Path) -> Path:
    """A loop whose number of rounds a client chooses, within the bounds that its schema names."""
    schema = Schema(
        inputs=(Field(name="n", datatype="INT64", shape=(), minimum=0, maximum=10**7),),
        outputs=(Field(name="y", datatype="FP32", shape=(64, 64)),),
    )
    model = models.save_slow_loop(folder.with_suffix(".onnx"))
    draft = BundleDraft(
        name="loop",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema=schema,
        variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
    )
    write_bundle(folder, draft)
    return folder


def loop(rounds: int, timeout_us: int = 0) -> ModelInferRequest:
    request = ModelInferRequest(model_name="loop")
    encode_inputs(request, {"n": np.array(rounds, np.int64)})
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    return request


def fault(channel: RawChannel, request: ModelInferRequest) -> str:
    """How a request fails; empty if it does not."""
    try:
        channel.call(INFER, request, timeout=20)
    except grpc.RpcError as e:
        return f"{e.code().name} {e.details()}"
    return ""


def is_refused(channel: RawChannel) -> bool:
    try:
        channel.send("/inference.GRPCInferenceService/ServerLive", b"", timeout=20)
    except grpc.RpcError as e:
        return bool(e.code() is grpc.StatusCode.UNAVAILABLE)
    return False


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.onnx", "--name", "m"], 3, "missing.onnx: no such file"),
        ([".", "--name", "m"], 2, "a folder without manifest.json"),
        (["text.onnx", "--name", "m"], 2, "model m@1"),
        (["custom.onnx", "--name", "m"], 2, "example.custom"),
        (["bf16.onnx", "--name", "m"], 2, "bfloat16"),
        (["zipmap.onnx", "--name", "m"], 2, "zipmap=False"),
        (["fifo.onnx", "--name", "m"], 2, "not a regular file"),
        (["huge.onnx", "--name", "m"], 2, "2147483648 bytes"),
        (["good.onnx"], 2, "give one with --name"),
        (["good.onnx", "--name", "no/name"], 2, "model name 'no/name' must start with"),
        (["good.onnx", "--name", "m", "--variant", "v"], 2, "no variants"),
        (["good.onnx", "--name", "m", "--model-version", "0"], 2, "versions are numbers from 1"),
        (["good.onnx", "--name", "m", "--threads", "0"], 2, "--threads"),
        (["good.onnx", "--name", "m", "--grpc", "0.0.0.0:1"], 2, "needs TLS"),
        (["good.onnx", "--name", "m", "--grpc", "127.0.0.1"], 2, "is not HOST:PORT"),
        (["good.onnx", "--name", "m", "--config", "missing.toml"], 3, "missing.toml: no such file"),
        (["good.onnx", "--name", "m", "--config", "bad.toml"], 2, "bad.toml.*max_smiles"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    folder_of_files: Path,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder_of_files)
    if "--grpc" not in arguments:
        arguments = [*arguments, "--grpc", "127.0.0.1:0"]
    assert cli.main(["serve", *arguments]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(words, err), err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def folder_of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    models.save_identity(folder / "good.onnx")
    models.save_custom_domain(folder / "custom.onnx")
    models.save_bfloat16(folder / "bf16.onnx")
    models.save_classifier(folder / "zipmap.onnx", zipmap=True)
    (folder / "text.onnx").write_text("This is no model.\n")
    (folder / "bad.toml").write_text("max_smiles = 3\n")
    os.mkfifo(folder / "fifo.onnx")
    with (folder / "huge.onnx").open("wb") as huge:
        huge.truncate(2**31)  # sparse: takes no space
    return folder


def test_a_port_in_use_is_named(folder_of_files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        model = str(folder_of_files / "good.onnx")
        assert cli.main(["serve", model, "--name", "m", "--grpc", address]) == 9
    assert f"cannot listen on {address}: Address already in use" in capfd.readouterr().err


def test_two_servers_never_share_a_port(iris: Path) -> None:
    with serve_process(iris, "--name", "iris") as (_, address):
        done = subprocess.run(
            [FOGLINE, "serve", iris, "--name", "iris", "--grpc", address],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode, done.stdout) == (9, "")
    assert "Address already in use" in done.stderr


def predict(stdin: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    return cli.main(["predict", *arguments])


def test_predict_prints_the_outputs(
    iris: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = '{"x": [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]]}'
    with serve_process(iris, "--name", "iris") as (_, address):
        assert predict(data, monkeypatch, "iris", "--grpc", address, "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["model"], answer["version"]) == ("iris", "1")
        assert len(answer["outputs"]["label"]) == 2
        assert len(answer["outputs"]["probabilities"][0]) == 3

        file = tmp_path / "data.json"
        file.write_text(data)
        arguments = ("iris@1", str(file), "--grpc", address, "--output", "label")
        assert predict("", monkeypatch, *arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.strip() for line in lines[:2]] == ["iris@1", "label"]
        assert len(lines) == 4

        for text, model, code, words in (
            (data, "iris@2", 3, "no version 2"),
            (data, "iris@champion", 2, "numbers, not aliases"),
            ("{", "iris", 2, "not JSON"),
            ("3", "iris", 2, "expected an object"),
            ('{"z": [1]}', "iris", 2, "takes 'x', got 'z'"),
            ('[{"a": 1}, {"b": 1}]', "iris", 2, "row 1 has other names"),
        ):
            assert predict(text, monkeypatch, model, "--grpc", address) == code
            assert words in capsys.readouterr().err


def test_predict_without_a_server_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert predict('{"x": [1]}', monkeypatch, "m", "--grpc", address, "--timeout", "5") == 5
    assert address in capsys.readouterr().err
