"""SIGKILL of the API around the commit of an enrolment: one device, one use, one identity."""

from pathlib import Path

import pytest

from fogline.clock import wait_until
from fogline.errors import Unavailable
from fogline.identity import Identity
from fogline_edge.install.enroll import enroll
from fogline_hub.api.devices import MadeToken, NewToken
from fogline_hub.config import HubFolder
from fogline_hub.devices import Device, Token
from tests.hubs import hub_folder, start_hub

__all__ = ["hub_folder"]


# Commits of an API process: its opening of the catalogue, the token, the enrolment.
@pytest.mark.parametrize("point", ["catalogue.before_commit:3", "catalogue.after_commit:3"])
def test_an_enrolment_that_is_cut_off_is_asked_again(
    hub_folder: HubFolder, tmp_path: Path, point: str
) -> None:
    hub = start_hub(hub_folder, failpoint=point)
    answers: list[Identity] = []

    def ask(text: str) -> bool:
        try:
            answers.append(enroll(hub.url, text, "station", tmp_path / "agent"))
        except Unavailable:
            return False
        return True

    try:
        with hub.client() as client:
            text = client.post("/v1/tokens", NewToken(group="roof"), MadeToken).text
        assert not ask(text)
        assert wait_until(lambda: ask(text), timeout_s=30)
        with hub.client() as client:
            devices = client.get("/v1/devices", tuple[Device, ...])
            tokens = client.get("/v1/tokens", tuple[Token, ...])
        assert [d.id for d in devices] == [answers[0].device]
        assert [t.uses_left for t in tokens] == [0]
        assert hub.status().processes["api"]["restarts"] == 1
    finally:
        hub.child.kill()
