"""Keras 3's `.keras` files, whatever backend wrote them. The only importer of keras.

Loaded in safe mode: a file with code in it (a Lambda layer) is refused. The model answers and is
exported on TensorFlow, by way of a SavedModel, which freezes what its layers have learned.
"""

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from fogline.errors import Corrupt, Unsupported
from fogline.tensors import Array
from fogline_hub.convert import saved_model
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.inputs import Port
from fogline_hub.convert.network import NetworkModel
from fogline_hub.convert.saved_model import as_array, asked, first_line, quiet

MAX_METADATA_BYTES = 64 * 1024
MAJOR = 3
HOW_TO_SAVE = "model.save('model.keras') with Keras 3"


def load(path: Path) -> NetworkModel:
    """Loads a `.keras` file.

    Raises:
        Corrupt: it is none.
        Unsupported: it holds code, layers that are not installed, or is another version's.
    """
    if path.suffix == ".h5":
        raise Unsupported(
            f"{path.name}: .h5 files name neither all settings nor a version that reads them the "
            f"same; load it where it was trained and save it again: {HOW_TO_SAVE}"
        )
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    saved_model.tensorflow()
    import keras

    _check_version(path, keras.__version__)
    if keras.backend.backend() != "tensorflow":
        raise Unsupported(f"Keras runs on {keras.backend.backend()} here; set it to tensorflow")
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as e:  # layers raise what they like while they are built
            raise _cannot_load(path.name, e) from e
    return from_model(model, path.name)


def from_model(model: object, name: str) -> NetworkModel:
    """A model that is already in memory, as a source.

    Raises:
        Unsupported: it is no Keras model with known inputs, or computes in half precision.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise Unsupported(f"{name}: holds a {type(model).__name__}, not a Keras model")
    return NetworkModel(_Model(model, name), name)


class _Model:
    """A functional or sequential model."""

    framework = "keras"
    packages: tuple[str, ...] = ("keras", *saved_model.PACKAGES)
    notes: tuple[str, ...] = ()

    def __init__(self, model: Any, name: str) -> None:
        import keras

        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise Unsupported(
                f"{name}: {type(model).__name__} does not say its inputs; build it from keras.Input"
                ", or save a SavedModel: model.export(folder)"
            )
        for layer in model._flatten_layers():  # noqa: SLF001 - `layers` leaves out nested ones
            if "16" in str(getattr(layer, "compute_dtype", "")):
                raise Unsupported(
                    f"{name}: layer {layer.name!r} computes in {layer.compute_dtype}; load it with "
                    "the policy float32 and save it again"
                )
        self._model = model
        self._name = name
        self.kind = type(model).__name__
        self.ports = tuple(
            saved_model.port(t.name, keras.backend.standardize_dtype(t.dtype), t.shape, name)
            for t in inputs
        )
        self._is_sequential = isinstance(model, keras.Sequential)

    def ports_for(self, _: Dataset) -> tuple[Port, ...]:
        return self.ports

    def ask(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        tf = saved_model.tensorflow()
        given = self._packed([tf.constant(tensors[p.name]) for p in self.ports])
        return self._named(asked(lambda: self._model(given, training=False)))

    def export(self, _: Mapping[str, Array]) -> onnx.ModelProto:
        tf = saved_model.tensorflow()
        specs = [
            tf.TensorSpec(t.shape, t.dtype, name=p.name)
            for t, p in zip(self._model.inputs, self.ports, strict=True)
        ]

        def served(*flat: Any) -> dict[str, Any]:
            found = self._model(self._packed(list(flat)), training=False)
            return {f"output_{i:04}": t for i, t in enumerate(self._flat(found))}

        module = tf.Module()
        module.model = self._model
        module.tables = [getattr(layer, "lookup_table", None) for layer in self._model.layers]
        with tempfile.TemporaryDirectory() as scratch, quiet():
            try:
                function = tf.function(served, input_signature=specs, autograph=False)
                tf.saved_model.save(module, scratch, signatures=function.get_concrete_function())
            except Exception as e:  # layers raise what they like while they are traced
                raise Unsupported(
                    f"{self._name}: TensorFlow cannot trace it: {type(e).__name__}: {first_line(e)}"
                ) from e
            return saved_model.to_onnx(Path(scratch), saved_model.SIGNATURE, self._name)

    def _packed(self, flat: list[Any]) -> Any:
        """The inputs in the structure that the model was built with."""
        import keras

        if self._is_sequential:
            return flat[0]
        return keras.tree.pack_sequence_as(self._model.input, flat)

    def _flat(self, found: Any) -> list[Any]:
        import keras

        return list(keras.tree.flatten(found))

    def _named(self, found: Any) -> dict[str, Array]:
        flat = [as_array(t) for t in self._flat(found)]
        names = list(getattr(self._model, "output_names", ()))
        if isinstance(found, dict) and len(found) == len(flat):
            names = sorted(found)
        if len(set(names)) != len(flat):
            names = ["output"] if len(flat) == 1 else [f"output_{i}" for i in range(len(flat))]
        return dict(zip(names, flat, strict=True))


def _check_version(path: Path, installed: str) -> None:
    """Raises where the file is no `.keras` file, or of a Keras that this one is older than."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("metadata.json") as file:
            version = json.loads(file.read(MAX_METADATA_BYTES))["keras_version"]
        made, here = (tuple(int(p) for p in v.split(".")[:2]) for v in (version, installed))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as e:
        raise Corrupt(f"{path.name}: not a .keras file: {type(e).__name__}") from e
    if made[0] != MAJOR or made > here:
        raise Unsupported(
            f"{path.name}: saved by Keras {version[:20]}, {installed} is installed: install "
            f"keras=={version[:20]}, or save it again with Keras {installed}"
        )


def _cannot_load(name: str, error: Exception) -> Exception:
    text = str(error)
    if "ambda" in text and ("safe_mode" in text or "unsafe" in text.lower()):
        return Unsupported(
            f"{name}: holds a Lambda layer, which is code; write it as a layer of keras.ops, or "
            "save a SavedModel: model.export(folder)"
        )
    if "Could not locate" in text or "register_keras_serializable" in text:
        return Unsupported(
            f"{name}: holds a layer that is not Keras's own: {first_line(error)}; save a "
            "SavedModel: model.export(folder), which needs no code"
        )
    return Corrupt(f"{name}: Keras cannot load it: {type(error).__name__}: {first_line(error)}")
