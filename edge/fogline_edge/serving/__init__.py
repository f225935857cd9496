"""Serving: models in memory, answered for over gRPC by the Open Inference Protocol."""

from fogline_edge.serving.calls import Call, Endpoint, Front, Listener, Tls
from fogline_edge.serving.codec import Request
from fogline_edge.serving.config import ServingConfig
from fogline_edge.serving.models import Entry, ModelCounts, Models, NotLoaded, Runner, ServedModel
from fogline_edge.serving.observer import NullObserver, Observation, Observer
from fogline_edge.serving.server import AgentSide, Server

__all__ = [
    "AgentSide",
    "Call",
    "Endpoint",
    "Entry",
    "Front",
    "Listener",
    "ModelCounts",
    "Models",
    "NotLoaded",
    "NullObserver",
    "Observation",
    "Observer",
    "Request",
    "Runner",
    "ServedModel",
    "Server",
    "ServingConfig",
    "Tls",
]
