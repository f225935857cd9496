"""TensorFlow's SavedModel folders. The only importer of tensorflow and tf2onnx.

A SavedModel is a program: its graph may read files and call code, so it is loaded in the limited
child alone. One of its signatures is converted; variables and tables are frozen into the graph.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fogline.errors import Corrupt, Unsupported
from fogline.tensors import Array
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.inputs import Port
from fogline_hub.convert.network import NetworkModel
from fogline_hub.convert.source import Refused

OPSET = 18
"""The highest that tf2onnx 1.17 writes."""
SIGNATURE = "serving_default"
PACKAGES: tuple[str, ...] = ("tensorflow-cpu", "tensorflow", "tf2onnx", "onnx", "numpy")
_DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
_RANDOM = ("Random", "Multinomial", "Dropout", "StatelessRandom")


def load(path: Path) -> NetworkModel:
    """Loads a folder's signature `serving_default`, or its only one.

    Raises:
        Corrupt: it is no SavedModel that the installed TensorFlow reads.
        Unsupported: no signature, or several; types that are not served; fixed rows.
    """
    tf = tensorflow()
    with quiet():
        try:
            loaded = tf.saved_model.load(str(path), tags=["serve"])
        except Exception as e:  # TensorFlow raises kinds of its own, and plain ones
            raise Corrupt(
                f"{path.name}: not a SavedModel that TensorFlow {tf.__version__} can load: "
                f"{first_line(e)}"
            ) from e
    names = sorted(n for n in loaded.signatures if not n.startswith("_"))
    chosen = SIGNATURE if SIGNATURE in names else names[0] if len(names) == 1 else ""
    if not chosen:
        held = f"the signatures {', '.join(names)}" if names else "no signature"
        raise Unsupported(
            f"{path.name}: holds {held}; save it with one named {SIGNATURE}: "
            "tf.saved_model.save(model, folder, signatures={'serving_default': function})"
        )
    return NetworkModel(_Signature(path, loaded, chosen), path.name)


class _Signature:
    """One signature: its inputs and outputs have names."""

    framework = "saved_model"
    packages = PACKAGES
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, loaded: Any, signature: str) -> None:
        self._path = path
        self._loaded = loaded  # a signature does not keep the variables that it reads
        self._name = signature
        self._run = loaded.signatures[signature]
        self.kind = f"SavedModel({signature})"
        given = self._run.structured_input_signature[1]
        self.ports = tuple(port(n, s.dtype.name, s.shape, path.name) for n, s in given.items())

    def ports_for(self, _: Dataset) -> tuple[Port, ...]:
        return self.ports

    def ask(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        tf = tensorflow()
        found = asked(lambda: self._run(**{n: tf.constant(t) for n, t in tensors.items()}))
        return {n: as_array(found[n]) for n in sorted(found)}

    def export(self, _: Mapping[str, Array]) -> onnx.ModelProto:
        return to_onnx(self._path, self._name, self._path.name)


def to_onnx(folder: Path, signature: str, name: str) -> onnx.ModelProto:
    """A signature of a SavedModel as ONNX; outputs in the order of their names.

    Raises:
        Unsupported: an operator has no ONNX form, or draws random numbers.
    """
    import tf2onnx.convert
    import tf2onnx.tf_loader

    with quiet():
        try:
            frozen, inputs, outputs, tables, renamed = tf2onnx.tf_loader.from_saved_model(
                str(folder),
                None,
                None,
                tag=["serve"],
                signatures=[signature],
                return_initialized_tables=True,
                return_tensors_to_rename=True,
            )
            _check_operators(frozen, name)
            model, _ = tf2onnx.convert._convert_common(  # noqa: SLF001 - what its command calls
                frozen,
                name=name,
                opset=OPSET,
                input_names=inputs,
                output_names=outputs,
                initialized_tables=tables,
                tensors_to_rename=renamed,
            )
        except Unsupported:
            raise
        except Exception as e:  # tf2onnx raises what its handlers happen to
            raise Unsupported(
                f"{name}: tf2onnx cannot write it as ONNX: {type(e).__name__}: {first_line(e)}"
            ) from e
    _check_known(model, name)
    made: onnx.ModelProto = model
    return made


def tensorflow() -> Any:
    """TensorFlow, imported with its native log turned down; it reads that when it is loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    return tf


def port(name: str, datatype: str, shape: Any, source: str) -> Port:
    """An input; the shape is a `TensorShape` or a tuple, with None where free.

    Raises:
        Unsupported: no served type, an unknown rank, or fixed rows.
    """
    if datatype in ("float16", "bfloat16"):
        raise Unsupported(
            f"{source}: input {name!r} is {datatype}, whose operators differ between processors; "
            "save the model with float32 inputs"
        )
    if datatype not in _DATATYPES:
        raise Unsupported(f"{source}: input {name!r} is {datatype}, which is not served")
    rank = getattr(shape, "rank", 0)
    if rank is None:
        raise Unsupported(f"{source}: input {name!r} says no shape; give it one before saving")
    dims = tuple(-1 if d is None else int(d) for d in shape)
    if not dims or dims[0] != -1:
        raise Unsupported(
            f"{source}: the rows of input {name!r} are fixed at {dims[0] if dims else 'one'}; save "
            "it with None as its first dimension"
        )
    return Port(name=name, datatype=_DATATYPES[datatype], shape=dims)


def asked(call: Any) -> Any:
    """What a call of TensorFlow says; its refusal of the rows as `Refused`."""
    tf = tensorflow()
    try:
        return call()
    except (tf.errors.OpError, ValueError, TypeError) as e:
        raise Refused(f"{type(e).__name__}: {first_line(e)}") from e


def as_array(tensor: Any) -> Array:
    """A tensor as numpy holds it: text as `str`.

    Raises:
        Unsupported: it is ragged or sparse.
    """
    if not hasattr(tensor, "numpy") or not hasattr(tensor, "shape") or hasattr(tensor, "values"):
        raise Unsupported("an output is ragged or sparse; make it dense, with .to_tensor()")
    array = np.asarray(tensor.numpy())
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.shape, dtype=np.object_)
    texts.reshape(-1)[:] = [v.decode() for v in array.reshape(-1).tolist()]
    return texts


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else ""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes that TensorFlow and tf2onnx log about their own work."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # TensorFlow's variables do not know numpy 2's argument `copy`.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            yield
    finally:
        logging.disable(before)


def _check_operators(frozen: Any, name: str) -> None:
    nodes = [*frozen.node, *(n for f in frozen.library.function for n in f.node_def)]
    for node in nodes:
        if node.op.startswith(_RANDOM):
            raise Unsupported(
                f"{name}: draws random numbers ({node.op}); save it as used, with training=False"
            )
        if node.op in ("PyFunc", "EagerPyFunc", "ReadFile", "WriteFile"):
            raise Unsupported(f"{name}: calls code or files ({node.op}), which no device has")


def _check_known(model: onnx.ModelProto, name: str) -> None:
    """tf2onnx leaves TensorFlow's operators in the graph where it knows no other."""
    strange = sorted(
        {n.op_type for n in model.graph.node if not n.domain and not onnx.defs.has(n.op_type)}
    )
    if strange:
        raise Unsupported(
            f"{name}: TensorFlow's {', '.join(strange[:6])} has no ONNX form; do that part (text "
            "splitting, hashing, bins, look-ups by a table) before the model"
        )
