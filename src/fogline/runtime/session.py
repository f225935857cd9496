"""One loaded model: opened from a file, run on arrays, ended by a deadline.

The only way from Fogline to onnxruntime's sessions. A hostile model is first proved in a limited
child (`fogline.runtime.qualify`); what is opened here was proved there. Models are opened by path,
never from bytes, so that external data is looked for beside the file and nowhere else.

onnxruntime's own error texts hold tensor values, so no text of a failed run leaves this module.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from fogline.allocator import large_apart
from fogline.errors import Conflict, Exhausted, FoglineError, InvalidInput, NotFound, Unsupported
from fogline.runtime.interrupt import Interrupt, Watchdog
from fogline.runtime.plan import ModelPlan
from fogline.schema import Field, Role
from fogline.tensors import DATATYPES, Array
from fogline.wire.onnx_model_pb2 import Model

_DATATYPES: Mapping[str, str] = MappingProxyType(
    {
        "tensor(bool)": "BOOL",
        "tensor(int8)": "INT8",
        "tensor(int16)": "INT16",
        "tensor(int32)": "INT32",
        "tensor(int64)": "INT64",
        "tensor(uint8)": "UINT8",
        "tensor(uint16)": "UINT16",
        "tensor(uint32)": "UINT32",
        "tensor(uint64)": "UINT64",
        "tensor(float16)": "FP16",
        "tensor(float)": "FP32",
        "tensor(double)": "FP64",
        "tensor(string)": "BYTES",
    }
)
"""onnxruntime's names of the types that numpy can hold."""

_ERRORS = (
    states.EngineError,
    states.EPFail,
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.ModelLoadCanceled,
    states.ModelLoaded,
    states.ModelRequiresCompilation,
    states.NoModel,
    states.NoSuchFile,
    states.NotFound,
    states.NotImplemented,
    states.RuntimeException,
)

_FAULTS = (*_ERRORS, MemoryError, ValueError, TypeError, RuntimeError)
"""What a run may raise."""

FATAL_ONLY = 4
"""onnxruntime's log level that hides its error lines, which hold tensor values."""

_BEHAVED = 0x0001 | 0x0100
"""numpy's flags C_CONTIGUOUS and ALIGNED (`NPY_ARRAY_*` in ndarraytypes.h)."""

_FLOAT = 1
"""`TensorProto.DataType.FLOAT`."""

_NODE = re.compile(r"while running (\w{1,64}) node\. Name:'([^']*)'")
_NO_MEMORY = re.compile(r"bad_alloc|[Ff]ailed to allocate memory")


class Session:
    """A model in memory; runs may go on in several threads at once.

    Answers are fresh arrays, that no later run changes. onnxruntime's binding's inner `run` is
    called rather than `InferenceSession.run`, whose checks of every call (1 us) are made here once,
    and rather than an IO binding, which is slower when outputs must be fresh: `docs/serving.md`.
    """

    def __init__(
        self,
        native: onnxruntime.InferenceSession,
        label: str,
        watchdog: Watchdog | None,
        *,
        takes_empty: bool = True,
    ) -> None:
        self.inputs = tuple(_field(a, "input", "feature", label) for a in native.get_inputs())
        self.outputs = tuple(_field(a, "output", "other", label) for a in native.get_outputs())
        self._native: Any = getattr(native, "_sess", native)
        self._label = label
        self._takes_empty = takes_empty
        self._watchdog = watchdog or Watchdog()
        self._output_names = [f.name for f in self.outputs]
        self._text_inputs = frozenset(f.name for f in self.inputs if f.datatype == "BYTES")
        self._forms = tuple(
            # Text is always looked at: no array's dtype says that it holds `str` alone.
            (f.name, None if f.name in self._text_inputs else DATATYPES[f.datatype])
            for f in self.inputs
        )
        self._calm = _run_options()
        """Of runs that nothing ends; never changed, so many runs may use it at once."""
        self._stops: list[tuple[Interrupt, onnxruntime.RunOptions]] = []
        """Untriggered ones of runs that ended in time, at most one for each run at once."""

    @classmethod
    def open(
        cls, path: Path, plan: ModelPlan, *, label: str = "", watchdog: Watchdog | None = None
    ) -> "Session":
        """Loads the ONNX file at `path` on the CPU.

        Args:
            path: The file; its external data lies beside it.
            plan: How to load and run it.
            label: How errors name the model; the file's name if empty.
            watchdog: Shared by sessions of one process; by default this session makes one when a
                run has a deadline.

        Raises:
            NotFound: no such file.
            InvalidInput: not an ONNX model that onnxruntime can load.
            Unsupported: an operator, or the type of an input or output, is not served.
            Exhausted: not enough memory.
        """
        label = label or path.name
        if not path.is_file():
            raise NotFound(f"{path}: no such file")
        try:
            with large_apart():
                native = onnxruntime.InferenceSession(
                    str(path),
                    _options(plan),
                    providers=["CPUExecutionProvider"],
                    enable_fallback=0,  # it would print to stdout and load a second time
                    read_config_from_model=0,  # a file does not choose what it is loaded with
                )
        except (*_ERRORS, MemoryError) as e:
            raise _load_error(label, e) from None
        return cls(native, label, watchdog, takes_empty=plan.takes_empty)

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        """Runs the model once.

        Args:
            arrays: Every input by name, with the datatypes of `self.inputs`; BYTES as `str`.
            outputs: Names of the outputs wanted, in the order wanted; all if None.
            deadline_s: Seconds from now at which the run is ended.
            interrupt: Ends the run from another thread.

        Raises:
            InvalidInput: onnxruntime refuses these inputs, or a node fails on them.
            DeadlineExceeded: not done in time.
            Unavailable: ended by `interrupt`.
            Exhausted: not enough memory, or no thread for the deadline.
            Conflict: the session is closed.
        """
        native = self._native
        if native is None:
            raise Conflict(f"{self._label}: the session is closed")
        names = self._output_names if outputs is None else list(outputs)
        feeds = self._feeds(arrays)
        if not self._takes_empty:
            self._refuse_empty(feeds)
        if deadline_s is None and interrupt is None:
            try:
                values = native.run(names, feeds, self._calm)
            except _FAULTS as e:
                raise _run_error(self._label, e) from None
        else:
            values = self._stoppable(native, names, feeds, deadline_s, interrupt)
        return dict(zip(names, values))  # noqa: B905 - onnxruntime gives one each

    def close(self) -> None:
        """Lets the model's memory go when the last run that goes on has ended.

        What the allocator keeps of it goes back to the machine by `memory.release_memory`.
        """
        self._native = None

    def _stoppable(
        self,
        native: Any,
        names: list[str],
        feeds: Mapping[str, Array],
        deadline_s: float | None,
        interrupt: Interrupt | None,
    ) -> list[Array]:
        """A run with options of its own; a stop of ours that was not used is used again."""
        if interrupt is None and self._stops:
            stop, options = self._stops.pop()
        else:
            stop, options = interrupt or Interrupt(), _run_options()
            stop.attach(options)
        watched = None
        in_time = True
        try:
            if deadline_s is not None:
                watched = self._watchdog.begin(stop, deadline_s)
            stop.check(self._label)
            values: list[Array] = native.run(names, feeds, options)
        except _FAULTS as e:
            stop.check(self._label)
            raise _run_error(self._label, e) from None
        finally:
            if watched is not None:
                in_time = self._watchdog.end(watched)
            if interrupt is not None:
                interrupt.detach(options)
        if interrupt is None and in_time:
            self._stops.append((stop, options))
        return values

    def _feeds(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """The arrays as onnxruntime may be given them.

        It takes a missing name for an optional input, and bytes in the other order for numbers.
        """
        if len(arrays) != len(self._forms):
            raise self._names_differ(arrays)
        is_right = type(arrays) is dict
        for name, dtype in self._forms:
            array = arrays.get(name)
            if array is None:
                raise self._names_differ(arrays)
            if array.dtype is not dtype or array.flags.num & _BEHAVED != _BEHAVED:
                is_right = False
        return arrays if is_right else {n: self._feed(n, a) for n, a in arrays.items()}

    def _feed(self, name: str, array: Array) -> Array:
        if name in self._text_inputs:
            return _strict_text(self._label, name, array)
        return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])

    def _refuse_empty(self, feeds: Mapping[str, Array]) -> None:
        for name, array in feeds.items():
            if not array.size:
                raise InvalidInput(
                    f"{self._label}, input {name!r}: has the shape {list(array.shape)}, so no "
                    "elements, which this graph's recurrent operators cannot answer"
                )

    def _names_differ(self, arrays: Mapping[str, Array]) -> InvalidInput:
        wanted = ", ".join(repr(n) for n, _ in self._forms[:32])
        missing = [repr(n) for n, _ in self._forms if n not in arrays]
        what = f"missing {', '.join(missing[:8])}" if missing else f"{len(arrays)} were given"
        return InvalidInput(f"{self._label}: expected the inputs {wanted}: {what}")


def open_smallest() -> Session:
    """A model of four nodes, run once: `y` of FP32 [-1, 2] from `x` of FP32 [-1, 2].

    The first session of a process takes some 10 MB that are not its model's, and so does the first
    run of much else. With this one first, what a model takes can be told apart from that.
    """
    model = Model(ir_version=8)
    model.opset_import.add(version=13)
    graph = model.graph
    for name, dims in (("w", (2, 2)), ("b", (2,))):
        data = np.ones(dims, "<f4").tobytes()
        graph.initializer.add(name=name, data_type=_FLOAT, dims=dims, raw_data=data)
    for operator, given, made in (
        ("MatMul", ("x", "w"), "m"),
        ("Add", ("m", "b"), "a"),
        ("Relu", ("a",), "r"),
        ("Softmax", ("r",), "y"),
    ):
        graph.node.add(op_type=operator, input=given, output=(made,))
    for name, side in (("x", graph.input), ("y", graph.output)):
        tensor = side.add(name=name).type.tensor_type
        tensor.elem_type = _FLOAT
        tensor.shape.dim.add(dim_param="n")
        tensor.shape.dim.add(dim_value=2)
    native = onnxruntime.InferenceSession(
        model.SerializeToString(), _options(ModelPlan()), providers=["CPUExecutionProvider"]
    )
    session = Session(native, "smallest", None)
    session.run({"x": np.ones((1, 2), np.float32)})
    return session


def _run_options() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.log_severity_level = FATAL_ONLY
    return options


def _options(plan: ModelPlan) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = plan.arena
    # It remembers a layout of memory for every form of inputs that ever came, without a bound.
    options.enable_mem_pattern = False
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        if plan.optimize
        else onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    # Idle threads that spin would take the application's processor time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0" if plan.prepack else "1")
    return options


def _field(arg: Any, kind: str, role: Role, label: str) -> Field:
    datatype = _DATATYPES.get(arg.type)
    if datatype is None:
        hint = (
            "; convert the model with zipmap=False"
            if arg.type.startswith("seq(map(")
            else f"; served are {', '.join(_DATATYPES)}"
        )
        raise Unsupported(f"{label}: {kind} {arg.name[:80]!r} is a {arg.type}{hint}")
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in arg.shape)
    try:
        return Field(name=arg.name, datatype=datatype, shape=shape, role=role)
    except ValueError as e:
        raise InvalidInput(f"{label}: {e}") from e


def _strict_text(label: str, name: str, array: Array) -> Array:
    """An object array of `str` alone: onnxruntime would serve the repr of anything else."""
    if array.dtype.kind == "U":
        return array.astype(np.object_)
    for value in array.flat:
        if not isinstance(value, str):
            raise InvalidInput(
                f"{label}, input {name!r}: expected str elements, got {type(value).__name__}"
            )
    return array


def _load_error(label: str, error: Exception) -> FoglineError:
    text = str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return Exhausted(f"{label}: not enough memory to load the model")
    detail = text.rpartition(" : ")[2][:400]
    if isinstance(error, states.NotImplemented) or "is not a registered function/op" in text:
        return Unsupported(f"{label}: an operator is not known to onnxruntime: {detail}")
    return InvalidInput(f"{label}: onnxruntime cannot load it: {detail}")


def _run_error(label: str, error: Exception) -> FoglineError:
    text = str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return Exhausted(f"{label}: not enough memory to answer this request")
    found = _NODE.search(text)
    if found:
        return InvalidInput(
            f"{label}: the {found[1]} node {found[2][:80]!r} failed on these inputs"
        )
    return InvalidInput(f"{label}: onnxruntime refused these inputs ({type(error).__name__})")
