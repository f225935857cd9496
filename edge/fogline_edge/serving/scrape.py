"""What Prometheus gets at one moment: a server's counts put together, on a port of its own.

Imported where somebody asks for metrics alone: it loads a megabyte that others do without.
"""

from collections.abc import Callable, Mapping

from fogline.addresses import Address
from fogline_edge.serving.metrics import Snapshot, render
from fogline_edge.serving.metrics_server import MetricsServer
from fogline_edge.serving.models import Models
from fogline_edge.serving.process import read_process
from fogline_edge.serving.residency import Residency
from fogline_edge.serving.server import Server
from fogline_edge.serving.stepwise import steps_of


def metrics_server(
    address: Address,
    server: Server,
    models: Models,
    residency: Residency,
    *,
    agent: Callable[[], Mapping[str, int]] = dict,
) -> MetricsServer:
    """A server of metrics that does not listen yet.

    Args:
        address: Where Prometheus asks.
        server: What answers requests.
        models: What it serves.
        residency: What of it is in memory.
        agent: An agent's own counters.
    """

    def text() -> str:
        return render(
            Snapshot(
                versions=server.statistics.snapshot(),
                loaded=models.list(),
                index=models.index(),
                steps=tuple(steps_of(models)),
                residency=residency.counts(),
                front=server.counts(),
                process=read_process(),
                agent=agent(),
            )
        )

    return MetricsServer(address, text)
