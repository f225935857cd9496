import socket
from pathlib import Path

import pytest

from fogline.addresses import Address
from fogline.errors import Conflict
from fogline_edge.agent import Agent
from fogline_edge.install.state import StateFile
from tests.installed import hold_version, write_identity

FREE = Address("127.0.0.1", 0)


def test_a_start_that_finds_its_address_taken_blames_no_version(tmp_path: Path) -> None:
    write_identity(tmp_path)
    hold_version(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        for _ in range(3):
            with pytest.raises(Conflict, match="cannot listen"):
                Agent(tmp_path, address).start()
    (model,) = StateFile(tmp_path / "installed.json").load().models
    assert model.marker is None
    assert model.strikes == ()
    agent = Agent(tmp_path, FREE)
    try:
        assert agent.start().models == ("rain@1",)
    finally:
        agent.stop()


def test_an_agent_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    write_identity(tmp_path)
    Agent(tmp_path, FREE).stop()
    Agent(tmp_path, FREE).stop()
