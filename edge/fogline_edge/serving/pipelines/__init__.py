"""Pipelines at work: a graph of versions and Python steps that answers as one model."""

from fogline_edge.serving.pipelines.branches import Branches
from fogline_edge.serving.pipelines.loading import (
    Bring,
    Brought,
    Surroundings,
    load_bundled_pipeline,
    load_pipeline,
    make_again,
    make_pipeline,
)
from fogline_edge.serving.pipelines.runner import PipelineRunner
from fogline_edge.serving.stepwise import StepCounts, Stepwise

__all__ = [
    "Branches",
    "Bring",
    "Brought",
    "PipelineRunner",
    "StepCounts",
    "Stepwise",
    "Surroundings",
    "load_bundled_pipeline",
    "load_pipeline",
    "make_again",
    "make_pipeline",
]
