"""Definitions of pipelines for tests, as plain dicts."""

from typing import Any

from fogline.pipeline import Pipeline
from fogline.records import convert

Plain = dict[str, Any]


def tensor_of(name: str, datatype: str = "FP32", *shape: int) -> Plain:
    return {"name": name, "datatype": datatype, "shape": list(shape or (-1, 2))}


def output_of(name: str, source: Any, datatype: str = "FP32", *shape: int) -> Plain:
    return {**tensor_of(name, datatype, *shape), "from": source}


def step_of(name: str, inputs: Plain, **more: Any) -> Plain:
    """A step of the component of its own name."""
    return {"name": name, "run": name, "inputs": inputs, **more}


def definition(steps: list[Plain], outputs: list[Plain], **more: Any) -> Plain:
    """`x` FP32 [-1, 2] in; each step's component is the model of the same name."""
    plain = {
        "name": "p",
        "inputs": [tensor_of("x")],
        "outputs": outputs,
        "components": {s["run"]: {"model": s["run"]} for s in steps},
        "steps": steps,
    }
    return {**plain, **more}


def pipeline_of(plain: Plain) -> Pipeline:
    return convert(plain, Pipeline, "pipeline")
