"""Do the components of a pipeline fit together? Names, datatypes, ranks and fixed dimensions. Pure.

What only a run can tell (a free dimension that meets a fixed one) is left to the run.
"""

from collections.abc import Iterator, Mapping

from fogline.pipeline.definition import Pipeline
from fogline.pipeline.graph import Coverage, index_steps, topological_order
from fogline.pipeline.parts import (
    CONSTANTS,
    INPUTS,
    Condition,
    Source,
    Step,
    alternatives,
    can_hold,
    split_ref,
)
from fogline.schema import Field, Schema

Interfaces = Mapping[str, Schema]
"""What each component takes and gives, by its key; one that an optional step goes without is left
out."""


def pipeline_misfit(pipeline: Pipeline, interfaces: Interfaces, *, is_complete: bool = True) -> str:
    """The first thing that does not fit, with the names of steps and tensors; empty if all does.

    With `is_complete` false, components that are left out are not missed, and fit anything.
    """
    return next(_Fit(pipeline, interfaces).misfits(is_complete=is_complete), "")


class _Fit:
    """One pipeline held against what its components take and give."""

    def __init__(self, pipeline: Pipeline, interfaces: Interfaces) -> None:
        self._pipeline = pipeline
        self._interfaces = interfaces
        self._steps = index_steps(pipeline.steps)
        self._coverage = Coverage(self._steps, topological_order(self._steps))
        self._inputs = {f.name: f for f in pipeline.inputs}

    def misfits(self, *, is_complete: bool) -> Iterator[str]:
        for step in self._pipeline.steps:
            if step.run in self._interfaces:
                yield from self._step(step, self._interfaces[step.run])
            elif is_complete and not step.optional:
                yield f"step {step.name!r}: its component {step.run!r} is not there"
        for output in self._pipeline.outputs:
            yield from self._feeds(f"output {output.name!r}", output.source, output.as_field())

    def _step(self, step: Step, interface: Schema) -> Iterator[str]:
        where = f"step {step.name!r}"
        taken = {f.name: f for f in interface.inputs}
        if taken.keys() != step.inputs.keys():
            yield (
                f"{where}: {self._component(step)} takes {_listed(taken)}, "
                f"the step gives it {_listed(step.inputs)}"
            )
            return
        splits = self._coverage.may_run_on_some_rows(step.name)
        for name, source in step.inputs.items():
            yield from self._feeds(f"{where}, input {name!r}", source, taken[name])
            if splits and not _is_constant(source) and taken[name].shape[:1] != (-1,):
                yield (
                    f"{where}, input {name!r}: it runs on some rows of a request, but "
                    f"{self._component(step)} takes {_form(taken[name])}, not a free number of rows"
                )
        if step.when is not None:
            yield from self._condition(f"{where}, its condition", step.when)

    def _feeds(self, where: str, source: Source, taken: Field) -> Iterator[str]:
        for ref in alternatives(source):
            given, problem = self._producer(ref)
            if problem:
                yield f"{where}: {problem}"
            elif given is not None and not _can_feed(given, taken):
                yield f"{where}: expected {_form(taken)}, got {ref!r} of {_form(given)}"

    def _condition(self, where: str, when: Condition) -> Iterator[str]:
        given, problem = self._producer(when.tensor)
        if problem:
            yield f"{where}: {problem}"
        if given is None:
            return
        if when.one_of:
            if not all(can_hold(given.datatype, value) for value in when.one_of):
                yield f"{where}: a value of `one_of` is no {given.datatype}, as {when.tensor!r} is"
        elif given.datatype in ("BYTES", "BOOL"):
            yield f"{where}: {when.tensor!r} of {given.datatype} is not above or below anything"
        yield from _measure_misfit(where, when, given)

    def _producer(self, ref: str) -> tuple[Field | None, str]:
        """The tensor's field, or None where its component is not there; or what is wrong."""
        producer, tensor = split_ref(ref)
        if producer == INPUTS:
            return self._inputs[tensor], ""
        if producer == CONSTANTS:
            constant = self._pipeline.constants[tensor]
            return Field(name=tensor, datatype=constant.datatype, shape=constant.shape), ""
        step = self._steps[producer]
        interface = self._interfaces.get(step.run)
        if interface is None:
            return None, ""
        for field in interface.outputs:
            if field.name == tensor:
                return field, ""
        there = _listed({f.name: f for f in interface.outputs})
        return None, f"no tensor {ref!r}: {self._component(step)} gives {there}"

    def _component(self, step: Step) -> str:
        return self._pipeline.components[step.run].ref


def _can_feed(given: Field, taken: Field) -> bool:
    """A free dimension may meet a fixed one, and a rank that a model does not declare any."""
    if given.datatype != taken.datatype:
        return False
    if not given.shape:
        return True  # a scalar, or an output of unknown rank: models declare both alike
    return len(given.shape) == len(taken.shape) and all(
        -1 in (g, t) or g == t for g, t in zip(given.shape, taken.shape, strict=True)
    )


def _measure_misfit(where: str, when: Condition, given: Field) -> Iterator[str]:
    rank = len(given.shape)
    if when.measure == "value":
        if rank > 2 or (rank == 2 and given.shape[1] not in (-1, 1)):
            yield f"{where}: {when.tensor!r} of {_form(given)} has no single value a row"
    elif rank not in (0, 2):
        yield f"{where}: {when.tensor!r} of {_form(given)} has no {when.measure} of each row"


def _is_constant(source: Source) -> bool:
    return all(split_ref(ref)[0] == CONSTANTS for ref in alternatives(source))


def _form(field: Field) -> str:
    return f"{field.datatype} {list(field.shape)}"


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, sorted(names)))[:400] or "nothing"
