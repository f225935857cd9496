"""What listens: grpcio's server is the first front."""

from fogline_edge.serving.front.grpcio import GrpcioFront

__all__ = ["GrpcioFront"]
