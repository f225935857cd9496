"""What every run of one pipeline shares: its steps in order, who waits for whom, its constants."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fogline.pipeline import (
    Constant,
    Pipeline,
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


class Layout:
    """A pipeline prepared to run; unchanging but for a bounded memory of what outputs need."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.steps: Mapping[str, Step] = index_steps(pipeline.steps)
        self.order = topological_order(self.steps)
        self.waits = {name: dependencies(step) for name, step in self.steps.items()}
        self.followers: Mapping[str, Sequence[str]] = _followers(self.waits)
        self.read = _read(pipeline)
        self.constants = {
            name: Value(_array(constant)) for name, constant in pipeline.constants.items()
        }
        self.outputs = {output.name: output for output in pipeline.outputs}
        self._needed: dict[tuple[str, ...], frozenset[str]] = {}

    def needed(self, outputs: tuple[str, ...]) -> frozenset[str]:
        """The steps that these outputs depend on."""
        found = self._needed.get(outputs)
        if found is None:
            sources = (self.outputs[name].source for name in outputs)
            found = frozenset(needed_steps(sources, self.steps))
            if len(self._needed) < MAX_CHOICES:
                self._needed[outputs] = found
        return found

    def readers(self, needed: Iterable[str], outputs: Sequence[str]) -> dict[str, int]:
        """How many read each step's tensors: steps of `needed`, and the answer itself."""
        found = dict.fromkeys(needed, 0)
        for name in found:
            for producer in self.waits[name]:
                found[producer] += 1
        for output in outputs:
            for ref in alternatives(self.outputs[output].source):
                producer = split_ref(ref)[0]
                if producer in found:
                    found[producer] += 1
        return found


def _read(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The tensors of each step that anyone reads."""
    refs = {ref for step in pipeline.steps for ref in step_refs(step)}
    refs |= {ref for output in pipeline.outputs for ref in alternatives(output.source)}
    read: dict[str, list[str]] = {step.name: [] for step in pipeline.steps}
    for producer, tensor in sorted(map(split_ref, refs)):
        if producer in read:
            read[producer].append(tensor)
    return {name: tuple(tensors) for name, tensors in read.items()}


def _followers(waits: Mapping[str, set[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, others in waits.items():
        for other in others:
            found[other].append(name)
    return found


def _array(constant: Constant) -> Array:
    flat = np.empty(len(constant.values), DATATYPES[constant.datatype])
    flat[:] = constant.values
    return read_only(flat.reshape(constant.shape))
