"""The embedded broker as a process: files, ports, reloads and restarts."""

import os
import socket
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from fogline import topics
from fogline.clock import wait_until
from fogline.errors import Conflict, NotFound, Unavailable, Unsupported
from fogline.sandbox import start_child
from fogline_hub.broker import Broker, BrokerConfig, BrokerUsers, DeviceUser, hash_password
from fogline_hub.broker import broker as broker_module
from tests.hub_brokers import HubBroker, hub_broker

__all__ = ["hub_broker"]


def test_every_file_with_a_secret_is_readable_by_its_owner_alone(hub_broker: HubBroker) -> None:
    hub_broker.add("device-a")
    assert stat.S_IMODE(hub_broker.folder.stat().st_mode) == 0o700
    for name in ("logins.json", "users.conf", "nats.conf"):
        assert stat.S_IMODE((hub_broker.folder / name).stat().st_mode) == 0o600


def test_a_device_can_connect_as_soon_as_apply_returns(hub_broker: HubBroker) -> None:
    for device in ("one", "two", "three"):
        hub_broker.add(device)
        connection, _ = hub_broker.connect_device(device, topics.down(device, "+"))
        assert connection.last_error == ""


def test_users_and_port_outlive_a_killed_broker(hub_broker: HubBroker) -> None:
    hub_broker.add("device-a")
    device, _ = hub_broker.connect_device("device-a")
    before = hub_broker.address
    hub_broker.kill()
    assert wait_until(lambda: not device.is_connected, timeout_s=10)
    hub_broker.start()
    assert wait_until(lambda: device.is_connected, timeout_s=10)
    again = Broker(hub_broker.folder, "127.0.0.1:0")
    hub_broker.kill()
    again.prepare()
    assert str(again.address) == before


def test_changes_at_the_same_time_share_one_reload(hub_broker: HubBroker) -> None:
    calls = []

    def devices() -> Sequence[DeviceUser]:
        calls.append(1)
        return hub_broker.devices

    config = BrokerConfig(reload_interval_s=0.5)
    users = BrokerUsers(hub_broker.folder, hub_broker.address, devices, config)
    users.apply()
    threads = [threading.Thread(target=users.apply) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(calls) == 2


def test_a_change_while_the_broker_is_down_says_so_and_is_there_when_it_starts(
    hub_broker: HubBroker,
) -> None:
    hub_broker.kill()
    password = "p" * 64
    hub_broker.devices.append(
        DeviceUser(device="late", username="d-late", password_hash=hash_password(password))
    )
    hub_broker._passwords["late"] = password
    config = BrokerConfig(reload_timeout_s=0.3, reload_interval_s=0.0)
    users = BrokerUsers(hub_broker.folder, hub_broker.address, lambda: hub_broker.devices, config)
    with pytest.raises(Unavailable, match="did not take the change"):
        users.apply()
    hub_broker.start()
    connection, _ = hub_broker.connect_device("late")
    assert connection.is_connected


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=rf"127.0.0.1:{port} .*--mqtt HOST:PORT"):
            Broker(tmp_path, f"127.0.0.1:{port}").prepare()


def test_a_port_taken_after_the_check_is_told_by_the_brokers_log(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", "127.0.0.1:0", BrokerConfig(start_timeout_s=0.5))
    broker.prepare()
    with socket.socket() as other:
        other.bind(("127.0.0.1", broker.address.port))
        other.listen()
        with start_child(broker.command()) as child:
            assert child.wait(20).code != 0
        assert "address already in use" in broker.last_words()
        with pytest.raises(Unavailable, match="address already in use"):
            broker.wait_ready()


def test_an_address_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="loopback"):
        Broker(tmp_path, "0.0.0.0:1883")


def test_a_missing_program_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "_PACKAGE", "no-such-package-as-this")
    with pytest.raises(NotFound, match="pip install"):
        Broker(tmp_path, "127.0.0.1:0").prepare()


def test_a_stale_process_id_is_never_signalled(hub_broker: HubBroker) -> None:
    from fogline_hub.broker.users import hang_up

    assert hang_up(hub_broker.folder)
    hub_broker.kill()
    (hub_broker.folder / "nats.pid").write_text(str(os.getpid()))
    assert not hang_up(hub_broker.folder)
