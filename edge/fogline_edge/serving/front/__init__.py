"""What listens: HTTP/2 on an event loop, or grpcio's server."""

from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.grpcio import GrpcioFront
from fogline_edge.serving.front.make import make_front

__all__ = ["FrontConfig", "GrpcioFront", "make_front"]
