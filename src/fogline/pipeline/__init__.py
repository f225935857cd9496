"""Pipelines: records of a graph of components, and its checks; nothing here runs one."""

from fogline.pipeline.definition import FORMAT, Pipeline, schema_of
from fogline.pipeline.fit import Interfaces, pipeline_misfit
from fogline.pipeline.graph import (
    Coverage,
    dependencies,
    index_steps,
    needed_steps,
    topological_order,
)
from fogline.pipeline.parts import (
    CONSTANTS,
    INPUTS,
    Component,
    Condition,
    Constant,
    Output,
    Source,
    Step,
    alternatives,
    split_ref,
    split_version,
    step_refs,
)
from fogline.pipeline.reading import (
    FILE_NAMES,
    component_path,
    definition_file,
    read_pipeline,
)

__all__ = [
    "CONSTANTS",
    "FILE_NAMES",
    "FORMAT",
    "INPUTS",
    "Component",
    "Condition",
    "Constant",
    "Coverage",
    "Interfaces",
    "Output",
    "Pipeline",
    "Source",
    "Step",
    "alternatives",
    "component_path",
    "definition_file",
    "dependencies",
    "index_steps",
    "needed_steps",
    "pipeline_misfit",
    "read_pipeline",
    "schema_of",
    "split_ref",
    "split_version",
    "step_refs",
    "topological_order",
]
