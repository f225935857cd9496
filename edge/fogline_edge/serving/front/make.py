"""The choice of a front. What is not chosen is not imported: grpcio alone takes 18 MB."""

from collections.abc import Sequence

from fogline_edge.serving.calls import Front, Listener
from fogline_edge.serving.front.config import FrontConfig


def make_front(listeners: Sequence[Listener], config: FrontConfig) -> Front:
    """The front that `config` names, on `listeners`; nothing listens yet."""
    if config.kind == "grpcio":
        from fogline_edge.serving.front.grpcio import GrpcioFront

        return GrpcioFront(listeners, config)
    from fogline_edge.serving.front.loop import Http2Front

    return Http2Front(listeners, config)
