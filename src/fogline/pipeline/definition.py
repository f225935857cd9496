"""A pipeline: models and Python steps that answer together as one model.

A `Pipeline` that exists is a directed graph without cycles in which every tensor has one producer,
every part is used, and every output is there whatever the conditions say. What it does not know is
what its components take and give; `fogline.pipeline.fit` holds it against that.
"""

from collections.abc import Container, Iterator
from typing import Annotated, Literal

from msgspec import Meta, field

from fogline.desired import Name
from fogline.pipeline.graph import (
    Coverage,
    check_refs,
    index_steps,
    needed_steps,
    topological_order,
)
from fogline.pipeline.parts import (
    CONSTANTS,
    INPUTS,
    MAX_COMPONENTS,
    MAX_CONSTANT_BYTES,
    MAX_CONSTANT_ELEMENTS,
    MAX_STEPS,
    Component,
    Constant,
    Output,
    Step,
    Word,
    alternatives,
    split_ref,
    split_version,
    step_refs,
)
from fogline.records import Record
from fogline.schema import MAX_FIELDS, Field, Schema

Format = Literal["fogline-pipeline/1"]
FORMAT: Format = "fogline-pipeline/1"


class Pipeline(Record, frozen=True, kw_only=True):
    """One version of a pipeline; its number is given by where it is served, as a model's is."""

    format: Format = FORMAT
    name: Name
    inputs: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=MAX_FIELDS)]
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=MAX_FIELDS)]
    components: Annotated[dict[Word, Component], Meta(min_length=1, max_length=MAX_COMPONENTS)]
    """By the part that each plays."""
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MAX_STEPS)]
    """In any order."""
    constants: Annotated[dict[Word, Constant], Meta(max_length=MAX_STEPS)] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into an error of ours."""
        schema_of(self)  # names are unique
        _check_components(self)
        steps = index_steps(self.steps)
        known = {INPUTS: {f.name for f in self.inputs}, CONSTANTS: set(self.constants)}
        for where, refs in _places(self):
            check_refs(where, refs, steps, known)
        for step in self.steps:
            _check_step(self, step, steps.keys())
        coverage = Coverage(steps, topological_order(steps))
        for output in self.outputs:
            if not coverage.is_sure(output.source):
                raise ValueError(
                    f"output {output.name!r}: {_listed(output)} may all be missing; end the list "
                    "with a tensor that is always there, or with a step that runs `unless` the "
                    "others do"
                )
        _check_used(self, needed_steps((o.source for o in self.outputs), steps))
        _check_constants(self)


def schema_of(pipeline: Pipeline) -> Schema:
    """What clients see. Raises `ValueError` where a name stands twice."""
    return Schema(inputs=pipeline.inputs, outputs=tuple(o.as_field() for o in pipeline.outputs))


def _check_components(pipeline: Pipeline) -> None:
    """One version of a model comes from one file, and a model is seen by clients or is not."""
    files: dict[str, tuple[str, str]] = {}
    visible: dict[str, tuple[str, bool]] = {}
    for key, component in pipeline.components.items():
        if not component.path:
            continue
        name, version = split_version(component.model)
        ref = f"{name}@{version or 1}"
        other, path = files.setdefault(ref, (key, component.path))
        if path != component.path:
            raise ValueError(
                f"components {other!r} and {key!r} bring model {ref} from {path!r} and from "
                f"{component.path!r}; give one of them another name or version"
            )
        other, is_visible = visible.setdefault(name, (key, component.visible))
        if is_visible is not component.visible:
            raise ValueError(
                f"components {other!r} and {key!r} bring model {name}, and only one of them says "
                "`visible`; clients see all its versions or none"
            )
        if name == pipeline.name:
            raise ValueError(f"component {key!r}: its model has the pipeline's own name {name!r}")


def _places(pipeline: Pipeline) -> Iterator[tuple[str, tuple[str, ...]]]:
    for step in pipeline.steps:
        yield f"step {step.name!r}", tuple(step_refs(step))
    for output in pipeline.outputs:
        yield f"output {output.name!r}", alternatives(output.source)


def _check_step(pipeline: Pipeline, step: Step, names: Container[str]) -> None:
    if step.run not in pipeline.components:
        there = ", ".join(pipeline.components)
        raise ValueError(f"step {step.name!r}: no component {step.run!r}; there are: {there[:400]}")
    for other in step.unless:
        if other not in names:
            raise ValueError(f"step {step.name!r}: no step {other!r} that it could run unless")


def _check_used(pipeline: Pipeline, needed: set[str]) -> None:
    for step in pipeline.steps:
        if step.name not in needed:
            raise ValueError(f"step {step.name!r}: no output depends on it")
    runs = {step.run for step in pipeline.steps}
    refs = {ref for _, refs in _places(pipeline) for ref in refs}
    producers = {
        kind: {t for p, t in map(split_ref, refs) if p == kind} for kind in (INPUTS, CONSTANTS)
    }
    for what, names, used in (
        ("component", pipeline.components.keys(), runs),
        ("input", (f.name for f in pipeline.inputs), producers[INPUTS]),
        ("constant", pipeline.constants.keys(), producers[CONSTANTS]),
    ):
        for name in names:
            if name not in used:
                raise ValueError(f"{what} {name!r}: no step uses it")


def _check_constants(pipeline: Pipeline) -> None:
    elements = sum(len(c.values) for c in pipeline.constants.values())
    if elements > MAX_CONSTANT_ELEMENTS:
        raise ValueError(f"{elements} constant values, at most {MAX_CONSTANT_ELEMENTS}")
    text = sum(
        len(v.encode("utf-8", "surrogatepass"))
        for c in pipeline.constants.values()
        for v in c.values
        if isinstance(v, str)
    )
    if text > MAX_CONSTANT_BYTES:
        raise ValueError(f"{text} bytes of constant text, at most {MAX_CONSTANT_BYTES}")


def _listed(output: Output) -> str:
    return ", ".join(alternatives(output.source))[:400]
