"""The hub's own broker for tests: real nats-server, real users, ended with the test."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fogline.clock import wait_until
from fogline.mqtt import Login, Message, MqttConfig, MqttConnection
from fogline.sandbox import Child, start_child
from fogline_hub.broker import (
    Broker,
    BrokerConfig,
    BrokerUsers,
    DeviceUser,
    hash_password,
    hub_login,
)

QUICK = BrokerConfig(reload_interval_s=0.0, start_timeout_s=20.0)


@dataclass
class Inbox:
    """What one connection received."""

    messages: list[Message] = field(default_factory=list)

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]


class HubBroker:
    """A started broker, its devices, and connections to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: list[DeviceUser] = []
        self._passwords: dict[str, str] = {}
        self.broker = Broker(folder, "127.0.0.1:0", QUICK)
        self.broker.prepare()
        self._child: Child | None = None
        self._open: list[MqttConnection] = []
        self.start()
        self.users = BrokerUsers(folder, self.address, lambda: self.devices, QUICK)

    @property
    def address(self) -> str:
        return str(self.broker.address)

    def start(self) -> None:
        self._child = start_child(self.broker.command())
        self.broker.wait_ready()

    def add(self, *devices: str) -> None:
        for device in devices:
            password = secrets.token_hex(32)
            self._passwords[device] = password
            self.devices.append(
                DeviceUser(
                    device=device, username=f"d-{device}", password_hash=hash_password(password)
                )
            )
        self.users.apply()

    def device_login(self, device: str) -> Login:
        return Login(
            client_id=secrets.token_hex(16),
            username=f"d-{device}",
            password=self._passwords[device],
        )

    def connect(
        self, login: Login, *subscriptions: str, wait: bool = True
    ) -> tuple[MqttConnection, Inbox]:
        inbox = Inbox()
        connection = MqttConnection(
            self.address,
            login=login,
            on_message=inbox.messages.append,
            subscriptions=subscriptions,
            config=MqttConfig(reconnect_base_s=0.05, reconnect_cap_s=0.2, max_in_flight=1024),
        )
        self._open.append(connection)
        connection.start()
        if wait and not wait_until(lambda: connection.is_connected, timeout_s=10):
            raise AssertionError(f"not connected: {connection.last_error}")
        return connection, inbox

    def connect_device(self, device: str, *subscriptions: str) -> tuple[MqttConnection, Inbox]:
        return self.connect(self.device_login(device), *subscriptions)

    def connect_hub(self, role: str, *subscriptions: str) -> tuple[MqttConnection, Inbox]:
        return self.connect(hub_login(self.folder, role), *subscriptions)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self.kill()


@pytest.fixture
def hub_broker(tmp_path: Path) -> Iterator[HubBroker]:
    broker = HubBroker(tmp_path / "broker")
    try:
        yield broker
    finally:
        broker.close()
