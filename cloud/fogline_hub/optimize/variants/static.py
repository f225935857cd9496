"""Static int8: weights and activations quantised ahead of time (QDQ).

The owner of onnxruntime's quantizer, of whose traps care is taken. It calibrates on all rows at
once: here rows come a few at a time, and ranges are minima and maxima, because the
other calibrators keep every activation of every row in memory. Nodes without names cannot be left
out: all get one. Without VNNI pairs of products saturate: `reduce_range`. And it may ruin a model
(magika: accuracy .96 to .34): nodes that do are found by bisection on the sample and left in float,
or the variant is given up.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime import quantization

from fogline.errors import Unsupported
from fogline.tensors import Array
from fogline_hub.convert import graph
from fogline_hub.optimize.variants.folded import folded
from fogline_hub.optimize.variants.weights import copy_model

QUANTISED = ("Conv", "MatMul", "Gemm")
STEP_ROWS = 8
"""Rows of one run of calibration."""
CHANNEL_OPSET = 13
"""The first in which `DequantizeLinear` has an axis."""
MAX_TRIALS = 40
"""Models made while sensitive nodes are looked for."""

Loss = Callable[[onnx.ModelProto], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSettings:
    """How static int8 is made.

    Attributes:
        reduce_range: Weights take 7 bits.
        signed: Activations are int8, else uint8.
        max_loss: What the result may lose on the sample.
        until: `time.monotonic` at which the search for sensitive nodes ends.
    """

    reduce_range: bool
    signed: bool
    max_loss: float
    until: float


class _Rows(quantization.CalibrationDataReader):  # type: ignore[misc]  # it ships no types
    """Rows of the sample, a few at a time."""

    def __init__(self, tensors: Mapping[str, Array], step: int) -> None:
        rows = len(next(iter(tensors.values())))
        starts = range(0, rows - rows % step or rows, step)
        self._parts = iter([{n: a[i : i + step] for n, a in tensors.items()} for i in starts])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._parts, None)


def int8_static(
    path: Path, tensors: Mapping[str, Array], loss: Loss, how: StaticSettings
) -> tuple[onnx.ModelProto | None, str]:
    """The model in static int8, and which nodes were left in float, in words.

    Args:
        path: The model.
        tensors: Rows of the sample, to calibrate with.
        loss: What a model loses on the sample.
        how: Settings.

    Raises:
        Unsupported: the quantizer fails, or no choice of nodes keeps the loss.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        prepared = _named(_raised(folded(path, Path(scratch) / "folded.onnx")))
        names = [n.name for n in prepared.graph.node if _is_quantised(n, prepared)]
        if not names:
            return None, ""
        trial = _Trial(prepared, tensors, loss, how, Path(scratch))
        whole = trial.made(names)
        lost = loss(whole)
        if lost <= how.max_loss:
            return whole, f"all {len(names)} nodes in int8"
        sensitive = _sensitive(names, trial)
        rest = [n for n in names if n not in sensitive]
        told = f"{len(sensitive)} of {len(names)} nodes left in float"
        while rest:
            made = trial.made(rest)
            lost = loss(made)
            if lost <= how.max_loss:
                return made, told
            # Each half was harmless alone, but not all together: the last ones go too.
            if trial.is_spent:
                break
            rest = rest[: len(rest) // 2]
            told = f"{len(names) - len(rest)} of {len(names)} nodes left in float"
    raise Unsupported(f"static int8 loses {lost:.4f} on the sample, and bisection found no way out")


class _Trial:
    """Makes models with some nodes in int8, as long as time and count allow."""

    def __init__(
        self,
        model: onnx.ModelProto,
        tensors: Mapping[str, Array],
        loss: Loss,
        how: StaticSettings,
        scratch: Path,
    ) -> None:
        self.model, self.tensors, self.loss, self.how = model, tensors, loss, how
        self._scratch = scratch
        self._count = 0

    @property
    def is_spent(self) -> bool:
        return self._count >= MAX_TRIALS or time.monotonic() > self.how.until

    def is_harmless(self, names: Sequence[str]) -> bool:
        return self.loss(self.made(names)) <= self.how.max_loss

    def made(self, names: Sequence[str]) -> onnx.ModelProto:
        """The model with these nodes in int8; raises `Unsupported`."""
        self._count += 1
        out = self._scratch / f"trial{self._count}.onnx"
        activations = (
            quantization.QuantType.QInt8 if self.how.signed else quantization.QuantType.QUInt8
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy's, of empty ranges in the quantizer
                logging.disable(logging.WARNING)
                quantization.quantize_static(
                    copy_model(self.model),
                    str(out),
                    _Rows(self.tensors, _step(self.model)),
                    quant_format=quantization.QuantFormat.QDQ,
                    nodes_to_quantize=list(names),
                    per_channel=True,
                    reduce_range=self.how.reduce_range,
                    activation_type=activations,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                    extra_options={
                        "ActivationSymmetric": self.how.signed,
                        # onnxruntime 1.32 compares arrays of scales as if they were one number.
                        "QDQDisableWeightAdjustForInt32Bias": True,
                    },
                )
        except Exception as e:  # the quantizer raises whatever it stumbles over
            raise Unsupported(f"onnxruntime's quantizer fails ({type(e).__name__})") from e
        finally:
            logging.disable(logging.NOTSET)
        made = graph.load(out)
        out.unlink()
        return made


def _sensitive(names: Sequence[str], trial: _Trial) -> frozenset[str]:
    """Nodes that lose too much alone; what time does not allow to look at counts as one."""
    if trial.is_spent:
        return frozenset(names)
    if trial.is_harmless(names):
        return frozenset()
    if len(names) == 1:
        return frozenset(names)
    half = len(names) // 2
    return _sensitive(names[:half], trial) | _sensitive(names[half:], trial)


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at an opset that knows scales for each channel; raises `Unsupported`."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version >= CHANNEL_OPSET:
        return model
    try:
        return version_converter.convert_version(model, CHANNEL_OPSET)
    except Exception as e:  # its errors are plain RuntimeErrors of many kinds
        told = f"opset {version} cannot be raised to {CHANNEL_OPSET}, which static int8 needs"
        raise Unsupported(told) from e


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    for i, node in enumerate(model.graph.node):
        node.name = f"n{i}"
    return model


def _is_quantised(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """A product with a constant: others gain no bytes."""
    constants = {t.name for t in model.graph.initializer}
    return node.op_type in QUANTISED and len(node.input) > 1 and node.input[1] in constants


def _step(model: onnx.ModelProto) -> int:
    """Rows a run: one where the model takes no other number."""
    sizes = [
        i.type.tensor_type.shape.dim[0].dim_value
        for i in model.graph.input
        if i.type.tensor_type.shape.dim
    ]
    return int(np.min(sizes)) if sizes and min(sizes) > 0 else STEP_ROWS
