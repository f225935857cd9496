"""The device's side of MQTT: what goes up, what comes down, and when."""

from fogline_edge.link.publisher import DeviceKeys, Publisher
from fogline_edge.link.window import Window, WindowConfig

__all__ = ["DeviceKeys", "Publisher", "Window", "WindowConfig"]
