"""A Triton ensemble, as its `config.pbtxt` has it -> the definition of a pipeline; pure.

Source: `ModelEnsembling` of Triton's model configuration. A step maps its model's inputs and
outputs to tensors of the ensemble; versions below 1 mean the one that is active.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fogline.errors import InvalidInput, Unsupported
from fogline.pipeline import Pipeline
from fogline.records import convert
from fogline.wire.model_config_pb2 import ModelConfig, ModelEnsembling, ModelInput, ModelOutput
from fogline_edge.serving.model_config import datatype_of


def pipeline_of_ensemble(config: ModelConfig) -> Pipeline:
    """The pipeline that does what an ensemble does.

    Raises:
        InvalidInput: it is no ensemble, or one that could not be served.
        Unsupported: it says more than steps and tensors.
    """
    where = f"ensemble {config.name!r}"
    steps = config.ensemble_scheduling.step
    if not steps:
        raise InvalidInput(f"{where}: no ensemble_scheduling with steps")
    names = _step_names(steps)
    tensors = {tensor.name: f"inputs.{tensor.name}" for tensor in config.input}
    for name, step in zip(names, steps, strict=True):
        if step.model_namespace:
            raise Unsupported(f"{where}: model_namespace is not served")
        for output, tensor in sorted(step.output_map.items()):
            if tensor in tensors:
                raise InvalidInput(f"{where}: two steps, or a step and the caller, give {tensor!r}")
            tensors[tensor] = f"{name}.{output}"
    batch = [-1] if config.max_batch_size > 0 else []
    plain = {
        "name": config.name,
        "inputs": [_field(tensor, batch) for tensor in config.input],
        "outputs": [
            {**_field(tensor, batch), "from": _given(where, tensors, tensor.name)}
            for tensor in config.output
        ],
        "components": {_part(step): {"model": _ref(step)} for step in steps},
        "steps": [
            {
                "name": name,
                "run": _part(step),
                "inputs": {
                    own: _given(where, tensors, tensor)
                    for own, tensor in sorted(step.input_map.items())
                },
            }
            for name, step in zip(names, steps, strict=True)
        ],
    }
    return convert(plain, Pipeline, where)


def _step_names(steps: Iterable[ModelEnsembling.Step]) -> list[str]:
    """By model; numbered where a model has several steps."""
    bases = [_word(step.model_name) for step in steps]
    seen: dict[str, int] = {}
    names = []
    for base in bases:
        seen[base] = seen.get(base, 0) + 1
        names.append(base if bases.count(base) == 1 else f"{base}_{seen[base]}")
    return names


def _part(step: ModelEnsembling.Step) -> str:
    version = f"_{step.model_version}" if step.model_version > 0 else ""
    return f"{_word(step.model_name)}{version}"


def _ref(step: ModelEnsembling.Step) -> str:
    return step.model_name + (f"@{step.model_version}" if step.model_version > 0 else "")


def _word(name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:56]
    return word if re.match(r"[A-Za-z_]", word) else f"m_{word}"


def _field(tensor: ModelInput | ModelOutput, batch: list[int]) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": datatype_of(tensor.data_type),
        "shape": [*batch, *tensor.dims],
    }


def _given(where: str, tensors: Mapping[str, str], name: str) -> str:
    found = tensors.get(name)
    if found is None:
        raise InvalidInput(f"{where}: no step gives the tensor {name!r}, nor does the caller")
    return found
