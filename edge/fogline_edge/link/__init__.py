"""The device's side of MQTT: what goes up, what comes down, and when."""

from fogline_edge.link.orders import Orders
from fogline_edge.link.publisher import DeviceKeys, Publisher
from fogline_edge.link.reconcile import Installs, Reconciler
from fogline_edge.link.reporter import ModelLine, Reporter
from fogline_edge.link.share import Share
from fogline_edge.link.window import Window, WindowConfig

__all__ = [
    "DeviceKeys",
    "Installs",
    "ModelLine",
    "Orders",
    "Publisher",
    "Reconciler",
    "Reporter",
    "Share",
    "Window",
    "WindowConfig",
]
