"""Serving: models in memory, answered for over gRPC by the Open Inference Protocol."""

from fogline_edge.serving.calls import Call, FrontAdapter
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.models import Lease, ModelCounts, Models, ServedModel
from fogline_edge.serving.observer import NullObserver, Observation, Observer
from fogline_edge.serving.requests import Request
from fogline_edge.serving.server import Server

__all__ = [
    "Call",
    "FrontAdapter",
    "Lease",
    "ModelCounts",
    "Models",
    "NullObserver",
    "Observation",
    "Observer",
    "Request",
    "ServedModel",
    "Server",
    "ServingConfig",
]
