"""Pipelines at work: a graph of versions and Python steps that answers as one model."""

from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.counts import StepCounts, Stepwise
from fogline_edge.serving.pipelines.loading import (
    Bring,
    Surroundings,
    load_bundled_pipeline,
    load_pipeline,
    make_pipeline,
)
from fogline_edge.serving.pipelines.runner import PipelineRunner

__all__ = [
    "Branches",
    "Bring",
    "PipelineRunner",
    "StepCounts",
    "Stepwise",
    "Surroundings",
    "load_bundled_pipeline",
    "load_pipeline",
    "make_pipeline",
]
