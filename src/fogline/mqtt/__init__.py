"""MQTT 3.1.1 for both sides; the only package that imports paho."""

from fogline.mqtt.config import Login, MqttConfig
from fogline.mqtt.connection import MqttConnection
from fogline.mqtt.session import Message

__all__ = ["Login", "Message", "MqttConfig", "MqttConnection"]
