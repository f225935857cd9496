"""The shape of a pipeline: what depends on what, in which order, and what may be missing. Pure.

Errors are `ValueError`s that name steps and tensors; decoding turns them into Fogline's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from fogline.pipeline.parts import (
    CONSTANTS,
    INPUTS,
    Source,
    Step,
    alternatives,
    split_ref,
    step_refs,
)

Steps = Mapping[str, Step]


def index_steps(steps: Sequence[Step]) -> dict[str, Step]:
    """Steps by name. Raises `ValueError` for a name that is taken: two producers of one tensor."""
    found: dict[str, Step] = {}
    for step in steps:
        if step.name in (INPUTS, CONSTANTS):
            raise ValueError(f"a step cannot be named {step.name!r}: that is not a step's tensors")
        if step.name in found:
            raise ValueError(f"two steps are named {step.name!r}, and both produce its tensors")
        found[step.name] = step
    return found


def check_refs(
    where: str, refs: Iterable[str], steps: Steps, known: Mapping[str, set[str]]
) -> None:
    """Raises `ValueError` for a tensor that has no producer, step or `known` kind."""
    for ref in refs:
        producer, tensor = split_ref(ref)
        if not tensor:
            raise ValueError(
                f"{where}: {ref!r} is no tensor's name; write inputs.NAME, constants.NAME or "
                "STEP.OUTPUT"
            )
        if producer in known:
            if tensor not in known[producer]:
                there = ", ".join(sorted(known[producer])[:16]) or "none"
                raise ValueError(f"{where}: no tensor {ref!r}; the {producer} are: {there}")
        elif producer not in steps:
            there = ", ".join(list(steps)[:16])
            raise ValueError(
                f"{where}: no tensor {ref!r}: no step {producer!r}; there are: {there}"
            )


def dependencies(step: Step) -> set[str]:
    """Names of the steps that must be over before `step` begins."""
    producers = {split_ref(ref)[0] for ref in step_refs(step)}
    return (producers | set(step.unless)) - {INPUTS, CONSTANTS}


def topological_order(steps: Steps) -> tuple[str, ...]:
    """Every step after those that it depends on.

    Raises:
        ValueError: some wait for each other; the text names them.
    """
    waits = {name: dependencies(step) for name, step in steps.items()}
    try:
        return tuple(TopologicalSorter(waits).static_order())
    except CycleError as e:
        names = list(reversed(e.args[1]))
        text = " -> ".join(names if len(names) <= 16 else [*names[:15], "...", names[-1]])
        raise ValueError(f"the steps {text} wait for each other") from None


def needed_steps(sources: Iterable[Source], steps: Steps) -> set[str]:
    """Names of all steps that the tensors of `sources` depend on."""
    found: set[str] = set()
    open_names = {split_ref(ref)[0] for s in sources for ref in alternatives(s)}
    while open_names:
        name = open_names.pop()
        if name in steps and name not in found:
            found.add(name)
            open_names |= dependencies(steps[name])
    return found


class Coverage:
    """What is known of each tensor before a run: is it there for every row, or for some rows?

    A step is sure when it has no condition, is not optional, and all its inputs are sure. A choice
    between tensors is sure when one of them is, or when the step of one runs unless others of the
    choice did.
    """

    def __init__(self, steps: Steps, order: Sequence[str]) -> None:
        self._steps = steps
        self._sure: set[str] = set()
        self._sure_but_unless: set[str] = set()
        self._split: set[str] = set()
        for name in order:
            step = steps[name]
            inputs = step.inputs.values()
            if step.when is None and not step.optional and all(map(self.is_sure, inputs)):
                (self._sure_but_unless if step.unless else self._sure).add(name)
            if self._may_split(step):
                self._split.add(name)

    def is_sure(self, source: Source) -> bool:
        """Whether the tensor is there for every row of every request."""
        names = [split_ref(ref)[0] for ref in alternatives(source)]
        return any(
            name not in self._steps
            or name in self._sure
            or (name in self._sure_but_unless and set(self._steps[name].unless) <= set(names))
            for name in names
        )

    def may_hold_some_rows(self, source: Source) -> bool:
        """Whether the tensor may be there for some rows of a request and not for others."""
        producers = {split_ref(ref)[0] for ref in alternatives(source)}
        return not self.is_sure(source) and bool(producers & self._split)

    def may_run_on_some_rows(self, name: str) -> bool:
        return name in self._split

    def _may_split(self, step: Step) -> bool:
        return (
            (step.when is not None and step.when.by == "row")
            or bool(self._split & set(step.unless))
            or any(self.may_hold_some_rows(source) for source in step.inputs.values())
        )
