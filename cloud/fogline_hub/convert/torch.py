"""PyTorch: saved programs of `torch.export`, and modules. The only importer of torch.

Runs in the limited child alone: loading a pickled module runs whatever code is in it. Exported by
the dynamo exporter with free rows and lengths; random and data-dependent programs are refused.
"""

import inspect
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.fx.experimental._config

from fogline.errors import Corrupt, FoglineError, InvalidInput, Unsupported
from fogline.tensors import Array
from fogline_hub.convert.dataset import Dataset
from fogline_hub.convert.graph import MAX_MODEL_BYTES
from fogline_hub.convert.graph_ports import fix_numbers
from fogline_hub.convert.inputs import Port
from fogline_hub.convert.network import NetworkModel
from fogline_hub.convert.source import Refused

OPSET = 22
"""The highest whose operators onnxruntime also runs on no rows: Attention of 23 refuses them."""

PACKAGES: tuple[str, ...] = ("torch", "onnxscript", "onnx", "onnxruntime", "numpy")
HOW_TO_SAVE = (
    "save it with torch.export.save(torch.export.export(model.eval(), args, "
    "dynamic_shapes=...), 'model.pt2')"
)
_DATATYPES = {
    torch.bool: "BOOL",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.uint8: "UINT8",
    torch.float32: "FP32",
    torch.float64: "FP64",
}
_HALVES = (torch.float16, torch.bfloat16)
_RANDOM = (
    "bernoulli", "dropout", "multinomial", "normal", "poisson", "rand", "randn", "randint",
    "randperm", "exponential", "uniform", "rrelu_with_noise",
)  # fmt: skip


def load(path: Path) -> NetworkModel:
    """Loads a `.pt2` program, or a module that `torch.save` wrote. The file's code may run here.

    Raises:
        Corrupt: it is neither.
        Unsupported: TorchScript, weights without a module, or a program that is not converted.
    """
    with _quiet():
        if path.suffix == ".pt2":
            return NetworkModel(_Program(_loaded_program(path), path.name), path.name)
        return from_module(_loaded_module(path), path.name)


def from_module(module: object, name: str) -> NetworkModel:
    """A module that is already in memory, as a source.

    Raises:
        Unsupported: it is no `torch.nn.Module`, or a kind of it that is not converted.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise Unsupported(f"{name}: TorchScript is not converted; {HOW_TO_SAVE}")
    if isinstance(module, torch.export.ExportedProgram):
        return NetworkModel(_Program(module, name), name)
    if not isinstance(module, torch.nn.Module):
        what = "weights alone" if isinstance(module, Mapping) else f"a {type(module).__name__}"
        raise Unsupported(f"{name}: holds {what}, not a torch.nn.Module; {HOW_TO_SAVE}")
    return NetworkModel(_Module(module, name), name)


class _Program:
    """A saved program: its inputs, shapes and operators are written in it."""

    framework = "torch"
    packages = PACKAGES
    notes: tuple[str, ...] = ()

    def __init__(self, program: Any, name: str) -> None:
        self._program = program
        self._name = name
        self._run = program.module()
        _check_program(program, name)
        self.kind = "torch.export.ExportedProgram"
        self.ports = _program_ports(program, name)

    def ports_for(self, _: Dataset) -> tuple[Port, ...]:
        return self.ports

    def ask(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        flat = [_tensor(tensors[p.name]) for p in self.ports]
        spec = self._program.call_spec.in_spec
        args, kwargs = torch.utils._pytree.tree_unflatten(flat, spec)  # noqa: SLF001 - no public way
        return _asked(self._run, args, kwargs)

    def export(self, _: Mapping[str, Array]) -> onnx.ModelProto:
        with _quiet():
            return _to_onnx(self._program, self._name)


class _Module:
    """A module: inputs are the arguments of its `forward`, shapes those of the sample."""

    framework = "torch"
    packages = PACKAGES

    def __init__(self, module: Any, name: str) -> None:
        self._name = name
        notes = []
        if any(m.training for m in module.modules()):
            notes.append("set to eval: dropout and batch norm as in use")
        held = {t.dtype for t in (*module.parameters(), *module.buffers())}
        if held & set(_HALVES):
            module = module.float()
            notes.append("half precision weights computed in float32")
        self._module = module.eval()
        self.notes = tuple(notes)
        self.kind = type(module).__name__
        wide = torch.float64 in {p.dtype for p in module.parameters()}
        self.ports, self._optional = _arguments(module, name, "FP64" if wide else "FP32")

    def ports_for(self, sample: Dataset) -> tuple[Port, ...]:
        there = sample.tensors.keys() | sample.columns.keys()
        return (*self.ports, *(p for p in self._optional if p.name in there))

    def ask(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        return _asked(self._module, (), {n: _tensor(t) for n, t in tensors.items()})

    def export(self, tensors: Mapping[str, Array]) -> onnx.ModelProto:
        given = {n: _tensor(t) for n, t in tensors.items()}
        dim = torch.export.Dim
        shapes = {
            n: {a: dim.DYNAMIC if a == 0 else dim.AUTO for a in range(t.ndim)}
            for n, t in given.items()
        }
        with _quiet():
            try:
                # Two dimensions that are equal in the example would else be taken for one.
                with torch.fx.experimental._config.patch(use_duck_shape=False):  # noqa: SLF001
                    program = torch.export.export(
                        self._module, (), kwargs=given, dynamic_shapes=shapes
                    )
            except Exception as e:  # dynamo raises kinds of many modules, private ones too
                raise _cannot_trace(self._name, e) from e
            _check_program(program, self._name)
            return _to_onnx(program, self._name)


def _loaded_program(path: Path) -> Any:
    try:
        return torch.export.load(path)
    except Exception as e:  # zipfile, json, pickle and torch each raise their own
        raise Corrupt(
            f"{path.name}: not a program that torch {torch.__version__} can read: "
            f"{type(e).__name__}: {_first_line(e)}"
        ) from e


def _loaded_module(path: Path) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in n for n in archive.namelist()):
                raise Unsupported(f"{path.name}: TorchScript is not converted; {HOW_TO_SAVE}")
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as e:
        raise Unsupported(
            f"{path.name}: needs code that is not installed here: {_first_line(e)}; {HOW_TO_SAVE}, "
            "which needs no code"
        ) from e
    except Exception as e:  # unpickling raises anything
        raise Corrupt(f"{path.name}: cannot be loaded: {type(e).__name__}: {_first_line(e)}") from e


def _program_ports(program: Any, name: str) -> tuple[Port, ...]:
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    ports = []
    for given in program.graph_signature.user_inputs:
        value = values.get(given) if isinstance(given, str) else None
        if not isinstance(value, torch.Tensor):
            raise Unsupported(f"{name}: an input is no tensor; write it into the model")
        if value.dtype in _HALVES:
            raise Unsupported(
                f"{name}: input {given!r} is {value.dtype}, whose operators differ between "
                "processors; export model.float()"
            )
        if value.dtype not in _DATATYPES:
            raise Unsupported(f"{name}: input {given!r} is {value.dtype}, which is not served")
        shape = tuple(d if isinstance(d, int) else -1 for d in value.shape)
        if not shape or shape[0] != -1:
            raise Unsupported(
                f"{name}: the rows of input {given!r} are fixed at "
                f"{shape[0] if shape else 'one'}; export it with "
                f"dynamic_shapes={{{given!r}: {{0: torch.export.Dim.DYNAMIC}}}}"
            )
        ports.append(Port(name=given, datatype=_DATATYPES[value.dtype], shape=shape))
    return tuple(ports)


def _arguments(module: Any, name: str, number: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    needed: list[Port] = []
    optional: list[Port] = []
    for given in inspect.signature(module.forward).parameters.values():
        if given.kind in (given.VAR_POSITIONAL, given.VAR_KEYWORD):
            continue
        if given.kind is given.POSITIONAL_ONLY:
            raise Unsupported(f"{name}: forward takes {given.name!r} by position only")
        where = needed if given.default is given.empty else optional
        where.append(Port(name=given.name, number=number))
    if not needed:
        raise Unsupported(f"{name}: forward names no argument that has to be given")
    return tuple(needed), tuple(optional)


def _check_program(program: Any, name: str) -> None:
    """Refuses what draws numbers or branches on data: one answer is then not the next.

    Raises:
        Unsupported: with the operator, and the way out.
    """
    for node in _calls(program):
        if isinstance(node.target, torch._ops.HigherOrderOperator):  # noqa: SLF001 - no public way
            operator = node.target.name()
            if not operator.startswith("wrap_with"):
                raise Unsupported(
                    f"{name}: holds control flow ({operator}); compute both ways and choose with "
                    "torch.where"
                )
        elif isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
            _check_operator(node, name)


def _calls(program: Any) -> Iterator[Any]:
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from (n for n in module.graph.nodes if n.op == "call_function")


def _check_operator(node: Any, name: str) -> None:
    operator = node.target.name().partition("::")[2].partition(".")[0].rstrip("_")
    kind = operator.removeprefix("native_").removeprefix("feature_").removeprefix("alpha_")
    if kind in _RANDOM and not ("dropout" in kind and not _is_training(node)):
        raise Unsupported(
            f"{name}: draws random numbers ({operator}); call model.eval() before export, and give "
            "functional dropout training=self.training"
        )
    if "batch_norm" in kind and _is_training(node):
        raise Unsupported(f"{name}: batch norm as in training; call model.eval() before export")


def _is_training(node: Any) -> bool:
    names = [a.name for a in node.target._schema.arguments]  # noqa: SLF001 - torch has no public name
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    for name in ("train", "training"):
        if name in names:
            return given.get(name) is not False
    return "no_training" not in str(node.target)


def _to_onnx(program: Any, name: str) -> onnx.ModelProto:
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if size > MAX_MODEL_BYTES:
        raise Unsupported(f"{name}: {size} bytes of weights; ONNX files of 2 GiB are not written")
    try:
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
        )
        model: onnx.ModelProto = exported.model_proto
    except Exception as e:  # the exporter's errors are private kinds, and those of its passes
        raise Unsupported(
            f"{name}: torch's exporter cannot write it as ONNX: {type(e).__name__}: "
            f"{_first_line(e)}"
        ) from e
    fix_numbers(model)
    return model


def _asked(run: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Array]:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = run(*args, **kwargs)
        except (RuntimeError, IndexError, ValueError, AssertionError, TypeError) as e:
            raise Refused(f"{type(e).__name__}: {_first_line(e)}") from e
    leaves = torch.utils._pytree.tree_leaves(found)  # noqa: SLF001 - no public way
    names = list(found) if isinstance(found, dict) and len(found) == len(leaves) else None
    if names is None:
        names = ["output"] if len(leaves) == 1 else [f"output_{i}" for i in range(len(leaves))]
    if any(not isinstance(t, torch.Tensor) for t in leaves):
        raise Unsupported("an output is no tensor; return tensors alone")
    return {
        str(n): (t.float() if t.dtype in _HALVES else t).detach().cpu().numpy()
        for n, t in zip(names, leaves, strict=True)
    }


def _tensor(array: Array) -> Any:
    if array.dtype.kind not in "fiub":
        raise InvalidInput("torch takes numbers, and the sample gives text")
    return torch.from_numpy(np.array(array))


def _cannot_trace(name: str, error: Exception) -> FoglineError:
    text = f"{type(error).__name__}: {_first_line(error)}"
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in str(error).lower():
        return Unsupported(
            f"{name}: its code branches on values ({text}); compute both ways and choose with "
            "torch.where"
        )
    if kind in ("ConstraintViolationError", "UserError") and "ynamic" in str(error):
        return Unsupported(
            f"{name}: its code fixes the number of rows ({text}); take it from x.shape[0]"
        )
    return Unsupported(f"{name}: torch.export cannot trace it: {text}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings of packages that nobody needs, and of its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
