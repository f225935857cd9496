import json
import socket
import stat
from pathlib import Path

import pytest

from fogline.addresses import parse_address
from fogline.clock import SystemClock, wait_until
from fogline.errors import Conflict, Forbidden, Unavailable
from fogline.sandbox import Ending, start_child
from fogline_edge.install.enroll import enroll
from fogline_hub.api.devices import MadeToken, NewToken
from fogline_hub.broker.probe import Answer, ask
from fogline_hub.config import HubFolder
from fogline_hub.devices import Device
from fogline_hub.hub import initialise
from tests.hubs import (
    RunningHub,
    fogline,
    hub,
    hub_command,
    hub_folder,
    is_running,
    kill,
    start_hub,
    wait_gone,
)

__all__ = ["hub", "hub_folder"]


def answers_mqtt(address: str) -> bool:
    return ask(parse_address(address), "nobody", "nothing") is not Answer.SILENT


def test_a_new_hub_says_what_comes_next_and_keeps_its_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    made = fogline("hub", "init", "--data", str(folder))
    assert made.is_success, made.last_words()
    token = (folder / "operator" / "admin.token").read_text().strip()
    assert b"fogline hub start" in made.stdout
    assert token.encode() not in made.stdout
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "tuf":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    again = fogline("hub", "init", "--data", str(folder))
    assert again.code == 9
    assert "is a hub already" in again.last_words()


def test_an_init_that_was_cut_off_is_run_again(tmp_path: Path) -> None:
    folder = HubFolder(tmp_path / "hub")
    initialise(HubFolder(tmp_path / "other"), SystemClock())
    folder.root.mkdir(mode=0o700)
    (tmp_path / "other" / "tuf").rename(folder.tuf)  # killed before the operator's row
    (tmp_path / "other" / "keys").rename(folder.root / "keys")
    (tmp_path / "other" / "operator").rename(folder.operator)
    initialise(folder, SystemClock())
    with pytest.raises(Conflict):
        initialise(folder, SystemClock())


def test_a_folder_with_anything_else_or_that_cannot_be_written_is_no_new_hub(
    tmp_path: Path,
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    mode = tmp_path.stat().st_mode
    with pytest.raises(Conflict, match=r"thesis\.txt"):
        initialise(HubFolder(tmp_path), SystemClock())
    assert tmp_path.stat().st_mode == mode
    with pytest.raises(Unavailable, match="cannot be written"):
        initialise(HubFolder(tmp_path / "thesis.txt" / "hub"), SystemClock())


def test_a_hub_starts_answers_and_ends_with_everything_gone(hub: RunningHub) -> None:
    status = hub.status()
    assert list(status.processes) == ["api", "broker", "ingest", "jobs", "signer"]
    assert {told["state"] for told in status.processes.values()} == {"ready"}
    assert answers_mqtt(hub.mqtt)
    pids = hub.pids().values()
    told = fogline("status", "--json", env=hub.environment())
    assert json.loads(told.stdout)["url"] == hub.url
    assert hub.stop().is_success
    assert not any(map(is_running, pids))


def test_a_killed_hub_takes_its_processes_with_it_and_comes_back_as_it_was(
    hub: RunningHub,
) -> None:
    with hub.client() as client:
        client.post("/v1/tokens", NewToken(group="roof"), MadeToken)
    pids = hub.pids().values()
    kill(hub.child.pid)
    assert wait_gone(*pids)
    again = start_hub(hub.folder)
    try:
        assert (again.url, again.mqtt) == (hub.url, hub.mqtt)
        assert again.status().audit_rows == 3
    finally:
        again.child.kill()


def test_a_dead_broker_comes_back_at_its_address(hub: RunningHub) -> None:
    broker = hub.pids()["broker"]
    kill(broker)
    assert wait_gone(broker)
    assert wait_until(lambda: answers_mqtt(hub.mqtt), timeout_s=30)
    assert wait_until(lambda: hub.status().processes["broker"]["restarts"] == 1, timeout_s=30)


def test_a_dead_api_comes_back_at_its_url(hub: RunningHub) -> None:
    api = hub.pids()["api"]
    kill(api)

    def is_back() -> bool:
        try:
            return bool(hub.status().processes["api"]["restarts"] == 1)
        except Unavailable:
            return False

    assert wait_until(is_back, timeout_s=30)
    assert hub.pids()["api"] != api


def test_an_enrolled_device_connects_until_it_is_revoked(hub: RunningHub, tmp_path: Path) -> None:
    with hub.client() as client:
        made = client.post("/v1/tokens", NewToken(group="roof"), MadeToken)
        identity = enroll(hub.url, made.text, "station-1", tmp_path / "agent")
        broker, login = parse_address(hub.mqtt), (identity.mqtt_username, identity.mqtt_password)
        assert str(broker) == f"{identity.mqtt_host}:{identity.mqtt_port}"
        assert ask(broker, *login) is Answer.ACCEPTED
        shown = client.get("/v1/devices/station-1", Device)
        assert (shown.id, shown.group) == (identity.device, "roof")
        client.post("/v1/devices/station-1/revoke", b"", Device)
        assert ask(broker, *login) is Answer.REFUSED
    with pytest.raises(Forbidden, match="used up"):
        enroll(hub.url, made.text, "station-2", tmp_path / "other")


def test_a_second_start_on_the_same_folder_is_refused(hub: RunningHub) -> None:
    second = fogline("hub", "start", "--data", str(hub.folder.root))
    assert second.code == 9
    assert f"runs already (process {hub.child.pid})" in second.last_words()
    assert hub.status().url == hub.url


def test_a_folder_that_is_no_hub_is_refused(tmp_path: Path) -> None:
    refused = fogline("hub", "start", "--data", str(tmp_path))
    assert refused.code == 3
    assert "fogline hub init" in refused.last_words()


@pytest.mark.parametrize("flag", ["--listen", "--mqtt"])
def test_a_taken_port_is_named(hub_folder: HubFolder, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--mqtt" if flag == "--listen" else "--listen"
        words = hub_command(hub_folder, flag, address, other, "127.0.0.1:0")[1:]
        refused = fogline(*words)
    assert refused.code == 9
    assert address in refused.last_words()
    assert flag in refused.last_words()


@pytest.mark.parametrize("flag", ["--listen", "--mqtt"])
def test_an_address_beyond_this_machine_is_refused(hub_folder: HubFolder, flag: str) -> None:
    refused = fogline("hub", "start", "--data", str(hub_folder.root), flag, "0.0.0.0:0")
    assert refused.code == 2
    assert "can be reached from other machines" in refused.last_words()


def test_a_mistake_in_the_configuration_is_named(hub_folder: HubFolder) -> None:
    (hub_folder.root / "hub.toml").write_text("[broker]\nmax_conections = 5\n")
    refused = fogline("hub", "start", "--data", str(hub_folder.root))
    assert refused.code == 2
    assert "hub.toml" in refused.last_words()
    assert "max_conections" in refused.last_words()


def test_a_broker_that_cannot_start_ends_the_hub(hub_folder: HubFolder) -> None:
    store = hub_folder.broker / "jetstream"
    hub_folder.broker.mkdir(mode=0o700)
    store.write_text("a file where the broker needs a folder")
    child = start_child(hub_command(hub_folder))
    outcome = child.wait(60)
    assert outcome.ending is Ending.EXITED
    assert outcome.code == 5
    assert "broker exited with status" in outcome.last_words()
    assert b"ready" not in outcome.stdout
