"""The agent's configuration record: `agent.toml` in its data folder, every key optional."""

from typing import Annotated

from msgspec import Meta

from fogline.mqtt import MqttConfig
from fogline.records import Record
from fogline.runtime import ModelPlan
from fogline_edge.capture import CaptureConfig
from fogline_edge.install import InstallConfig
from fogline_edge.link import WindowConfig
from fogline_edge.outbox import OutboxConfig
from fogline_edge.serving import ServingConfig

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Place = Annotated[str, Meta(max_length=4096)]


class AgentConfig(Record, frozen=True, kw_only=True):
    """Every bound of an agent, by room."""

    serving: ServingConfig = ServingConfig()
    plan: ModelPlan = ModelPlan()
    capture: CaptureConfig = CaptureConfig()
    outbox: OutboxConfig = OutboxConfig()
    window: WindowConfig = WindowConfig()
    mqtt: MqttConfig = MqttConfig()
    install: InstallConfig = InstallConfig()
    unix: Place = ""
    """A Unix socket to listen on too: its peers are known by their users (`serving.access`)."""
    metrics: Place = ""
    """`HOST:PORT` on loopback where Prometheus asks for `/metrics`; empty: nowhere."""
    report_interval_s: Seconds = 30.0
    """Longest time between two reports of a device on which nothing changed. Rollouts take a device
    for silent after `silence_s`, 180 s by default: keep well below it."""
    swap_drain_s: Seconds = 60.0
    """Longest wait for calls to a model that is taken away; it goes when they have ended anyhow."""
