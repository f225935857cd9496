"""What listens: HTTP/2 on an event loop, or grpcio's server, imported only where it is chosen."""

from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.make import make_front

__all__ = ["FrontConfig", "make_front"]
