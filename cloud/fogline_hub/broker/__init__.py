"""The embedded MQTT broker: nats-server's files, users and readiness. Sole user of its binary."""

from fogline_hub.broker.broker import Broker, server_path
from fogline_hub.broker.config import BrokerConfig, DeviceUser
from fogline_hub.broker.logins import hub_login
from fogline_hub.broker.passwords import hash_password
from fogline_hub.broker.users import BrokerUsers

__all__ = [
    "Broker",
    "BrokerConfig",
    "BrokerUsers",
    "DeviceUser",
    "hash_password",
    "hub_login",
    "server_path",
]
