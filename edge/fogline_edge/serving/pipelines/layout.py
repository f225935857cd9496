"""What every run of one pipeline shares, worked out once: tasks, who waits for whom, constants."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from fogline.pipeline import (
    CONSTANTS,
    Constant,
    Output,
    Pipeline,
    Source,
    Step,
    alternatives,
    dependencies,
    index_steps,
    needed_steps,
    split_ref,
    step_refs,
    topological_order,
)
from fogline.tensors import DATATYPES, Array
from fogline_edge.serving.pipelines.rows import Value, read_only

MAX_CHOICES = 64
"""Different lists of wanted outputs of which the needed steps are remembered."""

Ref = tuple[str, str]
"""(producer, tensor)."""


class Take:
    """Where an input or output comes from: the first of some tensors that is there."""

    __slots__ = ("is_constant", "refs")

    def __init__(self, source: Source) -> None:
        self.refs: tuple[Ref, ...] = tuple(map(split_ref, alternatives(source)))
        self.is_constant = all(producer == CONSTANTS for producer, _ in self.refs)


class Task:
    """A step prepared to run."""

    __slots__ = ("followers", "name", "read", "step", "takes", "waits", "when")

    def __init__(self, step: Step, read: tuple[str, ...]) -> None:
        self.step = step
        self.name = step.name
        self.takes = {name: Take(source) for name, source in step.inputs.items()}
        self.when: Ref | None = None if step.when is None else split_ref(step.when.tensor)
        self.read = read
        """Its tensors that anyone reads."""
        self.waits = dependencies(step)
        self.followers: list[str] = []


class Course:
    """What a certain list of outputs needs; a run counts down copies of `waits` and `readers`."""

    __slots__ = ("chain", "readers", "ready", "uses", "waits")

    def __init__(self, tasks: Sequence[Task], outputs: Iterable[Take]) -> None:
        self.chain = tuple(tasks) if _is_chain(tasks) else ()
        """The tasks, where each waits for the one before it; none where any can run together."""
        self.waits = {task.name: len(task.waits) for task in tasks}
        """How many steps must be over before each begins."""
        self.ready = [name for name, count in self.waits.items() if not count]
        self.uses = Counter(task.step.run for task in tasks)
        """In how many steps each component plays."""
        self.readers = dict.fromkeys(self.waits, 0)
        """How many read each step's tensors: other steps, and the answer itself."""
        producers = [p for task in tasks for p in task.waits]
        producers += [p for take in outputs for p, _ in take.refs if p in self.readers]
        for producer in producers:
            self.readers[producer] += 1


class Layout:
    """A pipeline prepared to run; unchanging but for a bounded memory of courses."""

    def __init__(self, pipeline: Pipeline) -> None:
        steps = index_steps(pipeline.steps)
        read = _read(pipeline)
        self.tasks = {name: Task(steps[name], read[name]) for name in topological_order(steps)}
        for task in self.tasks.values():
            for producer in task.waits:
                self.tasks[producer].followers.append(task.name)
        self.constants = {
            name: Value(_array(constant)) for name, constant in pipeline.constants.items()
        }
        self.outputs: dict[str, tuple[Output, Take]] = {
            output.name: (output, Take(output.source)) for output in pipeline.outputs
        }
        self._steps = steps
        self._courses: dict[tuple[str, ...], Course] = {}

    def course(self, outputs: tuple[str, ...]) -> Course:
        """What these outputs, all of the pipeline's, need."""
        found = self._courses.get(outputs)
        if found is None:
            wanted = [self.outputs[name] for name in outputs]
            needed = needed_steps([output.source for output, _ in wanted], self._steps)
            tasks = [task for name, task in self.tasks.items() if name in needed]
            found = Course(tasks, [take for _, take in wanted])
            if len(self._courses) < MAX_CHOICES:
                self._courses[outputs] = found
        return found


def _is_chain(tasks: Sequence[Task]) -> bool:
    return all(before.name in task.waits for before, task in pairwise(tasks))


def _read(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The tensors of each step that anyone reads."""
    refs = {ref for step in pipeline.steps for ref in step_refs(step)}
    refs |= {ref for output in pipeline.outputs for ref in alternatives(output.source)}
    read: dict[str, list[str]] = {step.name: [] for step in pipeline.steps}
    for producer, tensor in sorted(map(split_ref, refs)):
        if producer in read:
            read[producer].append(tensor)
    return {name: tuple(tensors) for name, tensors in read.items()}


def _array(constant: Constant) -> Array:
    flat = np.empty(len(constant.values), DATATYPES[constant.datatype])
    flat[:] = constant.values
    return read_only(flat.reshape(constant.shape))
