"""`fogline serve DIR` as a Triton user meets it, with Triton's own client."""

import http.client
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from fogline import cli
from fogline.sandbox import start_child
from fogline.wire.open_inference_pb2 import RepositoryModelLoadRequest
from tests import models, repositories
from tests.certificates import Authority
from tests.serving import FOGLINE, raw_channel, serve_process

AUTHORIZED = {"authorization": f"Bearer {repositories.SECRET}"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything, and two models that cannot be served."""
    root = tmp_path_factory.mktemp("served") / "repository"
    repositories.add_iris(root)
    repositories.add_identity(root)
    repositories.add_constant(root, "two", 1, version=1)
    repositories.add_constant(root, "two", 2, version=2)
    repositories.write(root / "two" / "config.pbtxt", "version_policy: { all { } }")
    repositories.add_bundle(root)
    repositories.add_pipeline(root)
    repositories.add_ensemble(root)
    repositories.add_broken(root)
    repositories.add_identity(root, "gpu")
    repositories.write(root / "gpu" / "config.pbtxt", "instance_group { kind: KIND_GPU }")
    repositories.write(root / "README.md", "no model")
    return root


@pytest.fixture(scope="module")
def address(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tokens = repositories.save_tokens(tmp_path_factory.mktemp("tokens") / "tokens.toml")
    with serve_process(root, "--tokens", tokens, "--metrics", "127.0.0.1:0") as (_, where):
        yield where


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(address.split(maxsplit=1)[0])
    yield made
    made.close()


def ask(client: Any, model: str, array: Any, output: str = "y", **options: Any) -> Any:
    x = triton.InferInput("x", list(array.shape), "FP32")
    x.set_data_from_numpy(array)
    return client.infer(model, [x], **options).as_numpy(output)


def ones(rows: int, columns: int) -> Any:
    return np.ones((rows, columns), np.float32)


def index(client: Any) -> dict[tuple[str, str], tuple[str, str]]:
    rows = client.get_model_repository_index(headers=AUTHORIZED).models
    return {(m.name, m.version): (m.state, m.reason) for m in rows}


def test_everything_that_can_be_served_is_and_the_rest_says_why(client: Any) -> None:
    found = index(client)
    ready = {key for key, (state, _) in found.items() if state == "READY"}
    assert ready >= {
        ("iris", "1"), ("identity", "1"), ("two", "1"), ("two", "2"), ("weather", "1"),
        ("twice", "1"),
    }  # fmt: skip
    assert found["broken", "1"][0] == "UNAVAILABLE"
    assert "malformed" in found["broken", "1"][1]
    state, reason = found["gpu", ""]
    assert state == "UNAVAILABLE"
    assert re.search(r"gpu/config\.pbtxt:1: instance_group\.kind KIND_GPU is not served", reason)
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("broken")


def test_a_configured_model_has_its_declared_shapes(client: Any) -> None:
    metadata = client.get_model_metadata("iris", as_json=True)
    assert metadata["outputs"][0] == {"name": "label", "datatype": "INT64", "shape": ["-1", "1"]}
    assert ask(client, "iris", ones(3, 4), "label").shape == (3, 1)
    assert ask(client, "iris", ones(16, 4), "probabilities").shape == (16, 3)
    with pytest.raises(InferenceServerException, match="17 rows, at most 16") as caught:
        ask(client, "iris", ones(17, 4), "label")
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_its_configuration_is_told(client: Any) -> None:
    config = client.get_model_config("iris").config
    assert (config.name, config.platform, config.max_batch_size) == ("iris", "onnxruntime_onnx", 16)
    assert list(config.output[0].dims) == [1]
    assert config.output[0].HasField("reshape")
    assert config.output[1].label_filename == "species.txt"
    own = client.get_model_config("identity").config
    assert [i.name for i in own.input] == ["x"]


def test_labels_are_given_for_classifications(client: Any) -> None:
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2]], np.float32))
    wanted = triton.InferRequestedOutput("probabilities", class_count=2)
    ((best, _),) = client.infer("iris", [x], outputs=[wanted]).as_numpy("probabilities")
    score, number, label = best.decode().split(":")
    assert label == ("setosa", "versicolor", "virginica")[int(number)]
    assert 0 < float(score) <= 1


def test_versions_are_asked_for_by_number_and_the_highest_by_name(client: Any) -> None:
    assert ask(client, "two", ones(1, 2), model_version="1").tolist() == [[1, 1]]
    assert ask(client, "two", ones(1, 2), model_version="2").tolist() == [[2, 2]]
    assert ask(client, "two", ones(1, 2)).tolist() == [[2, 2]]
    assert sorted(client.get_model_metadata("two").versions) == ["1", "2"]


def test_bundles_and_pipelines_are_served_from_their_folders(client: Any) -> None:
    assert ask(client, "weather", ones(1, 2)).tolist() == [[7, 7]]
    assert ask(client, "twice", ones(2, 2)).tolist() == [[3, 3], [3, 3]]
    assert client.get_model_metadata("twice").platform == "fogline_pipeline"
    assert client.get_model_config("twice").config.backend == ""


def test_an_ensemble_is_served_as_triton_has_it(client: Any) -> None:
    x = triton.InferInput("X", [3, 2], "FP32")
    x.set_data_from_numpy(ones(3, 2))
    assert client.infer("both", [x]).as_numpy("Y").tolist() == [[1, 1]] * 3
    config = client.get_model_config("both").config
    assert (config.platform, config.max_batch_size) == ("ensemble", 8)
    assert [s.model_name for s in config.ensemble_scheduling.step] == ["identity", "two"]
    metadata = client.get_model_metadata("both", as_json=True)
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": ["-1", "2"]}]


def test_without_explicit_control_nobody_loads(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="without --model-control explicit"):
        client.load_model("iris", headers=AUTHORIZED)
    with pytest.raises(InferenceServerException, match="needs the right 'repository'"):
        client.load_model("iris")


def test_prometheus_reads_what_was_asked(client: Any, address: str) -> None:
    ask(client, "identity", ones(5, 2))
    ask(client, "twice", ones(5, 2))
    host, _, port = address.split("metrics=")[1].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    rows = re.search(r'fogline_rows_total\{model="identity",version="1"\} (\d+)', text)
    assert rows is not None
    assert int(rows[1]) >= 5
    assert re.search(r'fogline_step_rows_total\{model="twice",.*step="second".*\} [1-9]', text)
    assert 'fogline_model_ready{model="broken",version="1"} 0' in text


def test_models_count_what_they_do_in_pipelines(client: Any) -> None:
    def rows(name: str) -> tuple[int, int]:
        (found,) = client.get_inference_statistics(name).model_stats
        return found.inference_count, found.inference_stats.success.count

    before = {name: rows(name) for name in ("twice", "identity", "twice-own")}
    ask(client, "twice", ones(5, 2))
    ask(client, "identity", ones(2, 2))
    after = {name: rows(name) for name in before}
    grown = {n: (after[n][0] - before[n][0], after[n][1] - before[n][1]) for n in before}
    assert grown == {"twice": (5, 1), "identity": (7, 2), "twice-own": (5, 1)}
    (own,) = client.get_inference_statistics("twice-own", "1").model_stats
    assert own.inference_stats.compute_infer.ns > 0
    assert {b.batch_size for b in own.batch_stats} >= {5}
    assert {m.name for m in client.get_inference_statistics().model_stats} >= set(before)


@pytest.fixture
def explicit(tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """A server of which nothing is loaded at the start but `a`, and its repository."""
    root = tmp_path / "repository"
    repositories.add_constant(root, "a", 1)
    repositories.add_constant(root, "b", 1)
    tokens = repositories.save_tokens(tmp_path / "tokens.toml")
    control = ("--model-control", "explicit", "--load-model", "a", "--tokens", tokens)
    with serve_process(root, *control) as (_, address):
        client = triton.InferenceServerClient(address)
        client.address = address
        yield client, root
        client.close()


def test_models_are_loaded_and_unloaded_on_demand(explicit: tuple[Any, Path]) -> None:
    client, root = explicit
    assert index(client) == {("a", "1"): ("READY", ""), ("b", ""): ("UNAVAILABLE", "not loaded")}
    client.load_model("b", headers=AUTHORIZED)
    assert ask(client, "b", ones(1, 2)).tolist() == [[1, 1]]
    client.unload_model("b", headers=AUTHORIZED)
    assert not client.is_model_ready("b")
    with pytest.raises(InferenceServerException, match="no model 'b'") as caught:
        ask(client, "b", ones(1, 2))
    assert caught.value.status() == "StatusCode.NOT_FOUND"

    repositories.add_constant(root, "b", 2, version=2)
    client.load_model("b", headers=AUTHORIZED)
    assert ask(client, "b", ones(1, 2)).tolist() == [[2, 2]]
    assert client.is_model_ready("b", "2")
    assert not client.is_model_ready("b", "1")

    repositories.add_constant(root, "new", 3)
    client.load_model("new", headers=AUTHORIZED)
    assert ask(client, "new", ones(1, 2)).tolist() == [[3, 3]]
    with pytest.raises(InferenceServerException, match="no model 'nobody'") as caught:
        client.load_model("nobody", headers=AUTHORIZED)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_repository_that_callers_fill_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    tokens = repositories.save_tokens(tmp_path / "tokens.toml")
    control = ("--model-control", "explicit", "--tokens", tokens)
    with serve_process(tmp_path / "repository", *control) as (_, address):
        client = triton.InferenceServerClient(address)
        assert client.is_server_ready()
        assert index(client) == {}
        repositories.add_identity(tmp_path / "repository")
        client.load_model("identity", headers=AUTHORIZED)
        assert ask(client, "identity", ones(1, 2)).tolist() == [[1, 1]]
        client.close()


@contextmanager
def asked_meanwhile(address: str, name: str, *, rows: int, threads: int) -> Iterator[set[float]]:
    """Has a model asked all the time; gives what it said of the last row, and no request fails."""
    ends, faults = threading.Event(), list[str]()
    answers: set[float] = set()

    def go_on() -> None:
        own = triton.InferenceServerClient(address)
        while not ends.is_set():
            try:
                answers.add(float(ask(own, name, ones(rows, 2))[-1, -1]))
            except InferenceServerException as e:
                faults.append(str(e))
        own.close()

    asking = [threading.Thread(target=go_on) for _ in range(threads)]
    for thread in asking:
        thread.start()
    try:
        yield answers
    finally:
        ends.set()
        for thread in asking:
            thread.join()
    assert faults == []


def test_no_request_fails_while_a_model_is_loaded_again(explicit: tuple[Any, Path]) -> None:
    client, root = explicit
    with asked_meanwhile(client.address, "a", rows=1, threads=4) as answers:
        for value in (2, 3, 4):
            repositories.add_constant(root, "a", value)
            client.load_model("a", headers=AUTHORIZED)
            assert ask(client, "a", ones(1, 2)).tolist() == [[value, value]]
    assert answers == {1, 2, 3, 4}


def test_components_of_a_pipeline_are_replaced_one_by_one_under_load(
    explicit: tuple[Any, Path],
) -> None:
    client, root = explicit
    repositories.add_constant(root, "identity", 1)
    repositories.add_pipeline(root)
    for name in ("identity", "twice"):
        client.load_model(name, headers=AUTHORIZED)
    with asked_meanwhile(client.address, "twice", rows=3, threads=4) as answers:
        for value in (4, 5, 6):
            models.save_constant(root / "twice" / "own.onnx", value)
            client.load_model("twice", headers=AUTHORIZED)  # its own, with the pipeline
            assert ask(client, "twice", ones(1, 2)).tolist() == [[value, value]]
            repositories.add_constant(root, "identity", value, version=value)
            client.load_model("identity", headers=AUTHORIZED)  # that of others, alone
    assert answers == {3, 4, 5, 6}


def test_a_model_becomes_a_pipeline_and_one_again_under_load(explicit: tuple[Any, Path]) -> None:
    client, root = explicit
    repositories.add_identity(root)
    repositories.add_constant(root, "twice", 9)
    for name in ("identity", "twice"):
        client.load_model(name, headers=AUTHORIZED)
    with asked_meanwhile(client.address, "twice", rows=1, threads=2) as answers:
        for _ in range(2):
            repositories.add_pipeline(root)
            client.load_model("twice", headers=AUTHORIZED)
            assert client.get_model_metadata("twice").platform == "fogline_pipeline"
            (root / "twice" / "pipeline.toml").unlink()
            client.load_model("twice", headers=AUTHORIZED)
            assert client.get_model_metadata("twice").platform == "onnxruntime_onnx"
    assert answers == {9, 3}
    assert {key for key in index(client) if key[0].startswith("twice")} == {("twice", "1")}


def test_a_load_that_fails_leaves_what_serves(explicit: tuple[Any, Path]) -> None:
    client, root = explicit
    repositories.write(root / "a" / "1" / "model.onnx", "no model")
    with pytest.raises(InferenceServerException, match="malformed"):
        client.load_model("a", headers=AUTHORIZED)
    assert ask(client, "a", ones(1, 2)).tolist() == [[1, 1]]
    repositories.write(root / "a" / "config.pbtxt", "max_batch_size: -1")
    with pytest.raises(InferenceServerException, match=r"a/config\.pbtxt:1: max_batch_size"):
        client.load_model("a", headers=AUTHORIZED)
    assert ask(client, "a", ones(1, 2)).tolist() == [[1, 1]]
    (root / "a" / "config.pbtxt").unlink()
    repositories.add_constant(root, "a", 5)
    client.load_model("a", headers=AUTHORIZED)
    assert ask(client, "a", ones(1, 2)).tolist() == [[5, 5]]


def test_a_pipeline_goes_with_its_own_components_or_without(explicit: tuple[Any, Path]) -> None:
    client, root = explicit
    repositories.add_pipeline(root)
    with pytest.raises(InferenceServerException, match="identity"):
        client.load_model("twice", headers=AUTHORIZED)
    repositories.add_identity(root)
    client.load_model("identity", headers=AUTHORIZED)
    client.load_model("twice", headers=AUTHORIZED)
    assert ask(client, "twice", ones(2, 2)).tolist() == [[3, 3], [3, 3]]
    client.unload_model("twice", headers=AUTHORIZED)
    assert index(client)["twice", "1"] == ("UNAVAILABLE", "unloaded")
    assert not any(name == "twice-own" for name, _ in index(client))  # no client's to see
    client.load_model("twice", headers=AUTHORIZED)
    client.unload_model("twice", unload_dependents=True, headers=AUTHORIZED)
    assert client.is_model_ready("identity")
    client.load_model("twice", headers=AUTHORIZED)
    assert ask(client, "twice", ones(2, 2)).tolist() == [[3, 3], [3, 3]]
    client.unload_model("twice", headers=AUTHORIZED)
    with pytest.raises(InferenceServerException, match="'twice' is not loaded"):
        client.unload_model("twice", headers=AUTHORIZED)


def test_kserves_way_of_naming_a_model_is_understood(explicit: tuple[Any, Path]) -> None:
    client, _ = explicit
    # Field 1 is the model's name in KServe's messages, and the repository's in Triton's.
    message = RepositoryModelLoadRequest(repository_name="b")
    with raw_channel(client.address) as channel:
        channel.send(
            "/inference.GRPCInferenceService/RepositoryModelLoad",
            message.SerializeToString(),
            metadata=tuple(AUTHORIZED.items()),
            timeout=30,
        )
    assert client.is_model_ready("b")


def test_a_callers_configuration_and_files_are_refused(explicit: tuple[Any, Path]) -> None:
    client, _ = explicit
    for options in ({"config": "{}"}, {"config": "{}", "files": {"file:1/model.onnx": b"x"}}):
        with pytest.raises(InferenceServerException) as caught:
            client.load_model("b", headers=AUTHORIZED, **options)
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    with pytest.raises(InferenceServerException, match="'log_file' is refused"):
        client.update_log_settings({"log_file": "/tmp/x"}, headers=AUTHORIZED)
    assert client.get_log_settings(headers=AUTHORIZED, as_json=True)["settings"]["log_info"] == {
        "bool_param": True
    }


def test_models_beyond_the_budget_are_loaded_when_they_are_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    for name in "abcd":
        repositories.add_weights(root, name, 1000)
    with serve_process(root, "--model-memory", "20M") as (process, address):
        client = triton.InferenceServerClient(address)
        for name in "abcdabcd":
            assert client.is_model_ready(name)
            assert client.get_model_metadata(name).inputs[0].shape == [-1, 1000]
            assert ask(client, name, ones(1, 1000)).shape == (1, 1000)
        assert len(client.get_inference_statistics().model_stats) == 4
        client.close()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert "left memory" in err


@pytest.mark.parametrize("name", ["pipeline.toml", "."])
def test_a_pipeline_is_served_by_itself(tmp_path: Path, name: str) -> None:
    alone = repositories.PIPELINE.replace(
        'first = { model = "identity" }', 'first = { model = "first", path = "first.onnx" }'
    )
    repositories.write(tmp_path / "pipeline.toml", alone)
    models.save_identity(tmp_path / "first.onnx")
    models.save_constant(tmp_path / "own.onnx", 3)
    with serve_process(tmp_path / name) as (_, address):
        client = triton.InferenceServerClient(address)
        assert ask(client, "twice", ones(1, 2)).tolist() == [[3, 3]]
        client.close()


def test_a_second_start_needs_no_proof(tmp_path: Path) -> None:
    root, plans = tmp_path / "repository", tmp_path / "plans"
    repositories.add_iris(root)
    repositories.add_bundle(root)
    starts = []
    for _ in range(2):
        with serve_process(root, "--plans", plans) as (_, address):
            client = triton.InferenceServerClient(address)
            assert ask(client, "iris", ones(1, 4), "label").shape == (1, 1)
            assert ask(client, "weather", ones(1, 2)).tolist() == [[7, 7]]
            client.close()
        starts.append(sorted((path.name, path.stat().st_ino) for path in plans.iterdir()))
    assert len(starts[0]) == 2
    assert starts[1] == starts[0]  # nothing was written anew, so nothing was proved


def test_a_unix_socket_is_enough(tmp_path: Path) -> None:
    repositories.add_identity(tmp_path)
    socket = tmp_path / "s"
    process = start_child([FOGLINE, "serve", str(tmp_path), "--unix", str(socket)], stderr=None)
    try:
        assert process.wait_line("ready ", 60.0).strip() == f"ready grpc=unix:{socket}"
        client = triton.InferenceServerClient(f"unix:{socket}")
        assert ask(client, "identity", ones(1, 2)).tolist() == [[1, 1]]
        assert client.get_model_repository_index().models[0].name == "identity"
        client.close()
        assert process.terminate(30.0).is_success
    finally:
        process.kill()
    assert not socket.exists()


@pytest.mark.parametrize("front", ["http2", "grpcio"])
def test_tls_is_spoken_to_clients_that_show_a_certificate(tmp_path: Path, front: str) -> None:
    repositories.add_identity(tmp_path / "repository")
    authority = Authority(tmp_path)
    (certificate, key), (own, own_key) = authority.sign("server"), authority.sign("app")
    tls = ("--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", authority.path)
    with serve_process(tmp_path / "repository", *tls, "--front", front) as (_, address):
        client = triton.InferenceServerClient(
            address,
            ssl=True,
            root_certificates=str(authority.path),
            private_key=str(own_key),
            certificate_chain=str(own),
        )
        assert ask(client, "identity", ones(1, 2)).tolist() == [[1, 1]]
        # A certificate names a device; it does not make its holder an operator.
        with pytest.raises(InferenceServerException, match="needs the right 'repository'"):
            client.get_model_repository_index()
        client.close()


def test_strict_fails_where_any_model_cannot_be_served(tmp_path: Path) -> None:
    repositories.add_identity(tmp_path)
    repositories.add_broken(tmp_path)
    done = subprocess.run(
        [FOGLINE, "serve", tmp_path, "--strict", "--grpc", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "model broken is not served: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--load-model", "identity"], 2, "--model-control explicit"),
        (["--model-control", "explicit", "--load-model", "*", "--load-model", "a"], 2, "alone"),
        (["--model-memory", "lots"], 2, "write one as 512M"),
        (["--model-memory", "0"], 2, "write one as 512M"),
        (["--tokens", "missing.toml"], 3, r"missing\.toml: no such file"),
        (["--tokens", "identity/1/model.onnx"], 4, "chmod 0600"),
        (["--metrics", "0.0.0.0:1"], 2, "loopback"),
        (["--tls-key", "k.pem"], 2, "come together"),
        (["--tls-client-ca", "ca.pem"], 2, "come together"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], 2, r"c\.pem"),
        (["--grpc", "10.0.0.1:1"], 2, "needs TLS"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    repositories.add_identity(tmp_path)
    monkeypatch.chdir(tmp_path)
    if "--grpc" not in arguments:
        arguments = [*arguments, "--grpc", "127.0.0.1:0"]
    assert cli.main(["serve", ".", *arguments]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(words, err), err
    assert "Traceback" not in err
