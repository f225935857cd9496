"""Puts the three models of rapidocr-onnxruntime and a definition that fits them into a folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import msgspec
import onnxruntime

from fogline.pipeline import Pipeline
from fogline.records import pretty_json, to_plain

DEFINITION = Path(__file__).with_name("pipeline.toml")
MODELS = {
    "detector.onnx": "ch_PP-OCRv4_det_infer.onnx",
    "classifier.onnx": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recogniser.onnx": "ch_PP-OCRv4_rec_infer.onnx",
}


def build(folder: Path) -> Path:
    """Makes `folder` with the models and `pipeline.json`, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in MODELS.items():
        shutil.copyfile(models_folder() / source, folder / name)
    plain = msgspec.toml.decode(DEFINITION.read_bytes())
    letters = alphabet(folder / "recogniser.onnx")
    plain["constants"]["alphabet"].update(shape=[len(letters)], values=letters)
    pipeline = msgspec.convert(plain, Pipeline)
    (folder / "pipeline.json").write_text(pretty_json(to_plain(pipeline)))
    return folder


def models_folder() -> Path:
    """Where the installed package keeps its models; the package itself is not imported."""
    spec = find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        raise SystemExit("install rapidocr-onnxruntime first: it brings the models")
    return Path(spec.origin).with_name("models")


def alphabet(recogniser: Path) -> list[str]:
    """The letters of the recogniser's classes: a blank, those in its metadata, a space."""
    session = onnxruntime.InferenceSession(str(recogniser), providers=["CPUExecutionProvider"])
    letters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    return ["", *letters, " "]
