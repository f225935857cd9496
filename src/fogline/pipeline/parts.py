"""The parts of a pipeline: components, constants, conditions, steps, outputs.

A tensor is named `PRODUCER.TENSOR`: `inputs.image` is what the caller sent, `constants.limit` what
the definition holds, `detect.maps` what the step `detect` gave. The producer ends at the first dot,
so a tensor's own name may hold dots.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, field

from fogline.records import Record
from fogline.schema import Field
from fogline.tensors import DATATYPES

INPUTS = "inputs"
CONSTANTS = "constants"

MAX_STEPS = 256
MAX_COMPONENTS = 256
MAX_ALTERNATIVES = 16
"""Most tensors of which one input takes the first that is there."""
MAX_CONSTANT_ELEMENTS = 65_536
"""Of all constants of a pipeline together."""
MAX_CONSTANT_BYTES = 1024 * 1024
"""Of all text in them together, as UTF-8."""

_WORD = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
Word = Annotated[str, Meta(pattern=rf"^{_WORD}\Z")]
"""Names of steps, components and constants; without dots."""
Ref = Annotated[str, Meta(min_length=1, max_length=320)]
"""`PRODUCER.TENSOR`."""
Source = Ref | Annotated[tuple[Ref, ...], Meta(min_length=1, max_length=MAX_ALTERNATIVES)]
"""One tensor, or several of which the first that is there is taken, row by row."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_VERSION = r"@[1-9][0-9]{0,8}"
_MODEL = re.compile(rf"{_NAME}({_VERSION})?")
_STEP = re.compile(rf"{_NAME}{_VERSION}")
Scalar = bool | int | float | str


class Component(Record, frozen=True, kw_only=True):
    """Who plays a part: a model, or a Python step that is installed on the device."""

    model: Annotated[str, Meta(max_length=80)] = ""
    """`NAME@3`, or `NAME` for the version that is active."""
    step: Annotated[str, Meta(max_length=80)] = ""
    """`NAME@1`."""
    options: Annotated[dict[Word, Scalar], Meta(max_length=64)] = field(default_factory=dict)
    """What a Python step is made with."""
    path: Annotated[str, Meta(max_length=4096)] = ""
    """The model's file or bundle, relative to the definition's own file; only where a definition
    is served from a folder. Elsewhere the device's own models are meant."""
    visible: bool = False
    """Whether what `path` brings also answers to its own name."""

    def __post_init__(self) -> None:
        if bool(self.model) == bool(self.step):
            raise ValueError("a component is either a `model` or a Python `step`")
        if self.model and not _MODEL.fullmatch(self.model):
            raise ValueError(f"model {self.model!r}: write NAME, or NAME@3 for one version of it")
        if self.step and not _STEP.fullmatch(self.step):
            raise ValueError(f"step {self.step!r}: write NAME@1; a Python step has a version")
        if self.options and not self.step:
            raise ValueError(f"model {self.model}: only a Python step takes options")
        if (self.path or self.visible) and not self.model:
            raise ValueError(f"step {self.step}: it is installed on the device, without a path")
        if self.visible and not self.path:
            raise ValueError(f"model {self.model}: `visible` is for what `path` brings")

    @property
    def ref(self) -> str:
        return self.model or self.step


class Constant(Record, frozen=True, kw_only=True):
    """A tensor that is part of the definition."""

    datatype: Annotated[str, Meta(max_length=16)]
    shape: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_CONSTANT_ELEMENTS)], ...], Meta(max_length=8)
    ]
    values: Annotated[tuple[Scalar, ...], Meta(max_length=MAX_CONSTANT_ELEMENTS)]
    """In row-major order."""

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise ValueError(f"no datatype {self.datatype!r}")
        count = 1
        for dim in self.shape:
            count *= dim
        if count != len(self.values):
            raise ValueError(
                f"shape {list(self.shape)} holds {count} values, not {len(self.values)}"
            )
        for i, value in enumerate(self.values):
            if not can_hold(self.datatype, value):
                raise ValueError(f"value {i} is no {self.datatype}")


class Condition(Record, frozen=True, kw_only=True):
    """Which rows a step runs on, by a tensor's values.

    A number that is not one (NaN) counts as below every bound, so that a model that is lost is
    never taken for sure.
    """

    tensor: Ref
    measure: Literal["value", "max", "min", "margin"] = "value"
    """Of each row: its one value; the largest or smallest of them; the largest less the second."""
    below: float | None = None
    at_least: float | None = None
    one_of: Annotated[tuple[bool | int | str, ...], Meta(max_length=4096)] = ()
    by: Literal["row", "any", "all"] = "row"
    """`row`: the rows that it holds for. `any`, `all`: the whole request, if it holds for a row or
    for all of them."""

    def __post_init__(self) -> None:
        has_bound = self.below is not None or self.at_least is not None
        if has_bound == bool(self.one_of):
            raise ValueError("a condition has `below`, `at_least` or both, or else `one_of`")
        if self.one_of and self.measure != "value":
            raise ValueError(f"`one_of` compares values, not their {self.measure}")
        if len({type(v) for v in self.one_of}) > 1:
            raise ValueError("`one_of` mixes types")


class Step(Record, frozen=True, kw_only=True):
    """One run of a component."""

    name: Word
    run: Word
    """A key of the pipeline's components."""
    inputs: Annotated[dict[str, Source], Meta(min_length=1, max_length=256)]
    """By the component's own name of each input."""
    when: Condition | None = None
    unless: Annotated[tuple[Word, ...], Meta(max_length=MAX_STEPS)] = ()
    """Steps; this one runs on the rows that none of them ran on."""
    optional: bool = False
    """Goes without it where its component is not there or fails, as where `when` does not hold."""


class Output(Field, frozen=True, kw_only=True, rename={"source": "from"}):
    """One output of the pipeline, as clients see it, and where it comes from."""

    source: Source

    def as_field(self) -> Field:
        return Field(
            name=self.name,
            datatype=self.datatype,
            shape=self.shape,
            role=self.role,
            labels=self.labels,
            unit=self.unit,
            columns=self.columns,
        )


def alternatives(source: Source) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


def split_ref(ref: str) -> tuple[str, str]:
    """(producer, tensor)."""
    producer, _, tensor = ref.partition(".")
    return producer, tensor


def split_version(ref: str) -> tuple[str, str]:
    """(name, version) of `NAME@VERSION`; the version is empty where there is none."""
    name, _, version = ref.partition("@")
    return name, version


def step_refs(step: Step) -> Iterator[str]:
    """Every tensor that a step reads, its condition's included."""
    for source in step.inputs.values():
        yield from alternatives(source)
    if step.when is not None:
        yield step.when.tensor


def can_hold(datatype: str, value: Scalar) -> bool:
    """Whether a scalar of a definition is an element of `datatype`, without loss of its kind."""
    kind = DATATYPES[datatype].kind
    if kind == "O":
        return isinstance(value, str)
    if kind == "b":
        return isinstance(value, bool)
    if isinstance(value, bool | str):
        return False
    if kind == "f":
        return abs(value) <= float(np.finfo(DATATYPES[datatype]).max)
    if not isinstance(value, int):
        return False
    bits = 8 * DATATYPES[datatype].itemsize
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if kind == "i" else (0, 2**bits)
    return bool(low <= value < high)
