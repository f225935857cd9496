"""What an agent offers on its own machine beside the port: a Unix socket, and metrics."""

import http.client
import socket
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from fogline.addresses import Address
from fogline.errors import InvalidInput, Unsupported
from fogline_edge.agent import Agent
from fogline_edge.config import AgentConfig
from tests.installed import hold_version, write_identity

FREE = Address("127.0.0.1", 0)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_the_unix_socket_steers_and_prometheus_is_answered(tmp_path: Path) -> None:
    write_identity(tmp_path)
    hold_version(tmp_path)
    metrics, unix = free_address(), tmp_path / "s"
    agent = Agent(tmp_path, FREE, config=AgentConfig(unix=str(unix), metrics=metrics))
    try:
        ready = agent.start()
        client = triton.InferenceServerClient(f"unix:{unix}")
        (row,) = client.get_model_repository_index().models
        assert (row.name, row.state) == ("rain", "READY")
        with pytest.raises(InferenceServerException, match="the hub decides"):
            client.unload_model("rain")
        client.close()
        over_tcp = triton.InferenceServerClient(str(ready.address))
        with pytest.raises(InferenceServerException, match="needs the right 'repository'"):
            over_tcp.get_model_repository_index()
        over_tcp.close()
        found = scrape(metrics)
    finally:
        agent.stop()
    assert found["fogline_model_ready", "rain"] == 1
    assert ("fogline_outbox_pending", "") in found
    assert found["fogline_agent_messages_published_total", ""] == 0
    assert not unix.exists()


def scrape(address: str) -> dict[tuple[str, str], float]:
    """Values by name and model."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (s.name, s.labels.get("model", "")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@pytest.mark.parametrize(
    ("address", "kind"), [("0.0.0.0:9100", Unsupported), ("9100", InvalidInput)]
)
def test_metrics_are_for_this_machine_alone(
    tmp_path: Path, address: str, kind: type[Exception]
) -> None:
    write_identity(tmp_path)
    with pytest.raises(kind):
        Agent(tmp_path, FREE, config=AgentConfig(metrics=address))
    Agent(tmp_path, FREE).stop()
