import pytest

from fogline.errors import InvalidInput
from fogline_hub.api.rollouts import NewRollout
from fogline_hub.rollouts import Plan, Rollout
from tests.hub_api import HubApi
from tests.hub_api import hub_api as hub_api  # noqa: PLC0414 - a fixture


def publish(hub: HubApi) -> None:
    with hub.rooms.catalogue.transaction() as c:
        made = hub.rooms.registry.add_version(
            c, "rain", "1" * 64, actor="operator:t", size_bytes=1, verified=True
        )
        hub.rooms.registry.publish(c, "rain", made.number, actor="operator:t")


def test_waves_are_kept_as_they_are_read(hub_api: HubApi) -> None:
    publish(hub_api)
    plan = Plan(group="stations", waves=(" 1", "25% ,50%", "100%"))
    with hub_api.client() as client:
        made = client.post("/v1/rollouts", NewRollout(version="rain@1", plan=plan), Rollout)
    assert made.waves == ("1", "25%", "50%", "100%")


@pytest.mark.parametrize("waves", [(), ("x" * 10_000,), ("100%", "1")])
def test_waves_that_make_no_sense_are_refused_shortly(
    hub_api: HubApi, waves: tuple[str, ...]
) -> None:
    publish(hub_api)
    asked = NewRollout(version="rain@1", plan=Plan(group="stations", waves=waves))
    with hub_api.client() as client, pytest.raises(InvalidInput, match="waves") as refused:
        client.post("/v1/rollouts", asked, Rollout)
    assert len(str(refused.value)) < 300
