"""Text read from images by three real models and four Python steps, beside RapidOCR itself.

The models are those that the package rapidocr-onnxruntime brings; its own code is the oracle.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from fogline.clock import wait_until
from fogline.tensors import Array
from fogline_edge.serving import Models
from fogline_edge.serving.pipelines import PipelineRunner, load_pipeline
from tests.pipeline_runners import brought, session_model, surroundings
from tests.serving import running, serve_process
from tests.text_images import NAMEPLATE, scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = Path(__file__).resolve().parents[2] / "examples" / "pipelines" / "ocr"
BOX_PIXELS = 3.0
"""How far a corner may lie from RapidOCR's: it cuts polygons where we grow rectangles."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is served."""
    pytest.importorskip("rapidocr_onnxruntime", reason="its models are what is served")
    from examples.pipelines.ocr.build import build

    return build(tmp_path_factory.mktemp("ocr"))


@pytest.fixture(scope="module", autouse=True)
def installed_steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The steps' distribution, installed by pip as on a device."""
    site = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--disable-pip-version-check", "--target", str(site)),
            str(STEPS),
        ],
        check=True,
        capture_output=True,
        timeout=300,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield site


@pytest.fixture(scope="module")
def oracle() -> dict[str, list[tuple[str, float, Array]]]:
    """What RapidOCR reads in each scene: text, score, corners."""
    rapid = pytest.importorskip("rapidocr_onnxruntime").RapidOCR()
    return {
        name: [
            (text, score, np.array(box))
            for box, text, score in rapid(np.ascontiguousarray(image[..., ::-1]))[0] or ()
        ]
        for name, image in scenes().items()
    }


@contextmanager
def reader(folder: Path) -> Iterator[tuple[triton.InferenceServerClient, PipelineRunner, Models]]:
    with surroundings() as around:
        models = around.models
        served = load_pipeline(folder, around, bring=brought(models))
        models.add(served)
        assert isinstance(served.runner, PipelineRunner)
        with running(models) as address:
            client = triton.InferenceServerClient(address)
            try:
                yield client, served.runner, models
            finally:
                client.close()


def read(client: triton.InferenceServerClient, image: Array) -> tuple[list[str], Array, Array]:
    """Texts, scores and corners."""
    tensor = triton.InferInput("image", [1, *image.shape], "UINT8")
    tensor.set_data_from_numpy(image[None])
    found = client.infer("ocr", [tensor])
    texts = [t.decode() for t in found.as_numpy("text").reshape(-1)]
    return texts, found.as_numpy("score")[0], found.as_numpy("box")[0]


def letters(text: str) -> str:
    """Where the recogniser sees spaces depends on how the line was scaled; letters do not."""
    return text.replace(" ", "")


def test_a_pipeline_reads_what_rapidocr_reads_where_it_reads_it(
    folder: Path, oracle: dict[str, list[tuple[str, float, Array]]]
) -> None:
    with reader(folder) as (client, runner, _):
        for name, image in scenes().items():
            texts, scores, boxes = read(client, image)
            expected = oracle[name]
            assert list(map(letters, texts)) == [letters(t) for t, _, _ in expected], name
            for score, box, (_, their_score, their_box) in zip(
                scores, boxes, expected, strict=True
            ):
                assert abs(score - their_score) < 0.06, name
                assert np.abs(box - their_box).max() <= BOX_PIXELS, name
        counts = {c.name: c for c in runner.steps()}
    assert sum(len(found) for found in oracle.values()) == 16
    assert (counts["detect"].runs, counts["recognise"].runs) == (5, 4)
    assert counts["recognise"].skipped == 1  # nothing stands on the empty image
    assert counts["recognise"].rows == 16
    assert not any(c.failures for c in counts.values())


def test_drawn_text_is_read_as_it_was_drawn(folder: Path) -> None:
    drawn = [letters(line.text) for line in NAMEPLATE]
    with reader(folder) as (client, _, _):
        assert list(map(letters, read(client, scenes()["plate"])[0])) == drawn
        assert list(map(letters, read(client, scenes()["turned"])[0])) == drawn[::-1]


def test_the_folder_is_served_by_the_command(
    folder: Path, installed_steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed_steps))
    with serve_process(folder) as (_, address):
        client = triton.InferenceServerClient(address)
        try:
            assert not client.is_model_ready("ocr-detector")
            found = read(client, scenes()["plate"])[0]
        finally:
            client.close()
    assert list(map(letters, found)) == [letters(line.text) for line in NAMEPLATE]


def test_the_recogniser_is_swapped_while_images_are_read(folder: Path) -> None:
    image = scenes()["plate"]
    with reader(folder) as (client, runner, models):
        expected = read(client, image)[0]
        answers: list[Any] = []

        def ask() -> None:
            answers.extend(read(client, image)[0] for _ in range(4))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: len(answers) >= 2, timeout_s=120)
        new = session_model(folder / "recogniser.onnx", "ocr-recogniser", 2)
        old = models.swap("ocr-recogniser", new)
        assert old is not None
        old.runner.close()
        for thread in threads:
            thread.join(300)
        versions = {c.name: c.version for c in runner.steps()}
    assert answers == [expected] * 8
    assert (versions["recognise"], versions["detect"]) == ("2", "1")
