"""The installer on a real disk against a real hub: what serves after whatever happened."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fogline.desired import DesiredModel
from fogline.errors import Conflict, InvalidInput
from fogline.records import convert
from fogline.runtime import ModelPlan
from fogline.runtime.fingerprint import fingerprint
from fogline_edge.install import Installer, Phase
from fogline_edge.install.attempts import AttemptBounds
from fogline_edge.install.fetch.messages import FetchBounds
from fogline_edge.install.phases import MOVES, Event, move
from fogline_edge.install.qualify import Verdict
from tests.devices import CONFIG, Device, write_version
from tests.signed_hubs import Reply, SignedHub, make_hub, serving


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SignedHub]:
    with serving(make_hub(tmp_path / "hub")) as made:
        yield made


@pytest.fixture
def device(tmp_path: Path, hub: SignedHub) -> Device:
    return Device(tmp_path / "device", hub)


@pytest.fixture
def versions(tmp_path: Path, hub: SignedHub) -> list[DesiredModel]:
    """rain@1 to rain@3 at index 1 to 3; index 0 is snow@1."""
    made = [hub.push(write_version(tmp_path / "snow", "snow", b"snow"), 1)]
    for number in (1, 2, 3):
        content = str(number).encode()
        made.append(hub.push(write_version(tmp_path / f"rain{number}", content=content), number))
    return made


def proved(device: Device, wanted: DesiredModel, generation: int = 1) -> Installer:
    """A running agent that has served `wanted` for the whole probation."""
    installer = device.start()
    installer.boot()
    assert installer.install(wanted, generation).phase is Phase.ACTIVE
    device.clock.advance(11)
    installer.tick()
    return installer


def folders(device: Device) -> list[str]:
    return sorted(p.name for p in (device.folder / "versions").iterdir())


def test_a_wanted_version_serves_and_every_step_is_told(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = device.start()
    assert installer.boot() == []
    report = installer.install(versions[1], 7)
    assert (report.phase, report.version, report.variant) == (Phase.ACTIVE, 1, "fp32")
    assert device.phases() == ["fetching", "qualifying", "activating", "active"]
    served = device.serving["rain"]
    assert (served.version, served.generation, served.digest) == (1, 7, versions[1].manifest)
    assert served.model.read_bytes() == b"model 1"
    assert (served.model.parent / "weights.bin").stat().st_nlink == 1
    assert installer.reports() == (report,)
    assert list((device.folder / "store").iterdir()) == []


def test_what_serves_is_not_installed_again(device: Device, versions: list[DesiredModel]) -> None:
    installer = proved(device, versions[1])
    device.hub.requests.clear()
    assert installer.install(versions[1], 8).phase is Phase.ACTIVE
    assert device.hub.requests == []


def test_a_new_version_takes_over_and_the_old_one_stays_at_hand(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.hub.requests.clear()
    assert installer.install(versions[2], 2).phase is Phase.ACTIVE
    assert device.versions() == {"rain": 2}
    assert len(folders(device)) == 2
    weights = [path for path, _ in device.hub.requests if path.startswith("/blobs/")]
    assert len(weights) == 2, "manifest and model, but not the weights that v1 has too"
    device.clock.advance(11)
    installer.tick()
    installer.install(versions[3], 3)
    assert folders(device) == sorted(f"{v.manifest}.fp32" for v in versions[2:])


def test_a_boot_needs_neither_network_nor_metadata(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).close()
    for path in (device.folder / "tuf").rglob("*"):
        if path.is_file():
            path.unlink()
    device.hub.requests.clear()
    installer = device.start()
    assert [one.version for one in installer.boot()] == [1]
    assert device.versions() == {"rain": 1}
    assert device.hub.requests == []
    assert device.phases() == ["active"]


def test_models_do_not_touch_each_other(device: Device, versions: list[DesiredModel]) -> None:
    installer = proved(device, versions[1])
    installer.install(versions[0], 2)
    assert device.versions() == {"rain": 1, "snow": 1}
    installer.remove("rain")
    assert device.versions() == {"snow": 1}
    assert installer.models() == ("snow",)
    installer.close()
    again = device.start()
    assert [one.name for one in again.boot()] == ["snow"]


def test_a_deliberate_downgrade_is_a_wish_like_any_other(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    installer.install(versions[2], 2)
    device.hub.requests.clear()
    assert installer.install(versions[1], 3).phase is Phase.ACTIVE
    assert device.versions() == {"rain": 1}
    assert not any(path.startswith("/blobs/") and versions[1].manifest not in path
                   for path, _ in device.hub.requests)  # fmt: skip


# ------------------------------------------------------------------ refusals


def test_a_version_that_fails_its_proof_never_serves_again(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.refusals[versions[2].manifest] = Verdict(reason="golden case 0 differs")
    report = installer.install(versions[2], 2)
    assert (report.phase, report.reason) == (Phase.REJECTED, "golden case 0 differs")
    assert device.versions() == {"rain": 1}
    assert folders(device) == [f"{versions[1].manifest}.fp32"]
    device.refusals.clear()
    device.hub.requests.clear()
    assert installer.install(versions[2], 3).phase is Phase.REJECTED
    assert device.hub.requests == []
    installer.close()
    again = device.start()
    again.boot()
    assert again.install(versions[2], 4).phase is Phase.REJECTED
    assert device.versions() == {"rain": 1}


def test_only_a_newer_wish_with_retry_clears_a_rejection(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.refusals[versions[2].manifest] = Verdict(reason="no")
    installer.install(versions[2], 5)
    device.refusals.clear()
    assert installer.install(versions[2], 6).phase is Phase.REJECTED
    assert installer.install(versions[2], 5, retry=True).phase is Phase.REJECTED
    assert installer.install(versions[2], 6, retry=True).phase is Phase.ACTIVE


def test_another_agent_may_try_what_this_one_rejected(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.refusals[versions[2].manifest] = Verdict(reason="no")
    installer.install(versions[2], 2)
    installer.close()
    device.refusals.clear()
    device.version = "1.1"
    newer = device.start()
    newer.boot()
    assert newer.install(versions[2], 2).phase is Phase.ACTIVE


def test_a_version_that_does_not_load_leaves_the_old_one_serving(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.unloadable.add(versions[2].manifest)
    report = installer.install(versions[2], 2)
    assert report.phase is Phase.REJECTED
    assert "does not load" in report.reason
    assert device.versions() == {"rain": 1}


def test_a_device_that_cannot_judge_now_tries_again(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    device.machine.available = 1000
    report = installer.install(versions[2], 2)
    assert report.phase is Phase.FAILED
    assert "available" in report.reason
    device.machine.available = 2**33
    device.refusals[versions[2].manifest] = Verdict(reason="busy", is_transient=True)
    assert installer.install(versions[2], 2).phase is Phase.FAILED
    device.refusals.clear()
    assert installer.install(versions[2], 2).phase is Phase.ACTIVE


def test_a_hub_that_is_gone_changes_nothing(device: Device, versions: list[DesiredModel]) -> None:
    installer = proved(device, versions[1])
    device.hub.replies["/tuf/timestamp.json"] = lambda _: Reply(status=503)
    assert installer.install(versions[2], 2).phase is Phase.FAILED
    assert device.versions() == {"rain": 1}
    device.hub.replies.clear()
    assert installer.install(versions[2], 2).phase is Phase.ACTIVE


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": "0" * 64},
        {"version": 5},
        {"target": "models/snow/1/manifest.json"},
        {"target": "http://elsewhere.example/manifest.json"},
        {"name": "snow"},
    ],
)
def test_a_wish_that_signed_metadata_does_not_share_installs_nothing(
    device: Device, versions: list[DesiredModel], change: dict[str, Any]
) -> None:
    installer = proved(device, versions[1])
    report = installer.install(replace(versions[2], **change), 2)
    assert report.phase is Phase.FAILED
    assert device.versions() == {"rain": 1}


def test_a_version_without_room_takes_the_place_of_the_last_good_one(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    installer.install(versions[2], 2)
    device.clock.advance(11)
    installer.tick()
    device.config = replace(
        CONFIG, fetch=replace(CONFIG.fetch, quota_bytes=23_000)
    )  # two versions fit, three do not
    installer.close()
    smaller = device.start()
    smaller.boot()
    assert smaller.install(versions[3], 3).phase is Phase.FAILED
    assert folders(device) == [f"{versions[2].manifest}.fp32"]
    assert smaller.install(versions[3], 3).phase is Phase.ACTIVE


def test_a_version_on_probation_keeps_its_last_good_one(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    installer.install(versions[2], 2)
    installer.install(versions[3], 3)
    assert folders(device) == sorted(f"{versions[i].manifest}.fp32" for i in (1, 3))


# ------------------------------------------------------------ crash and decay


def crash_loop(device: Device, runs: int) -> list[dict[str, int]]:
    """Runs that boot and are killed; what served in each."""
    found = []
    for _ in range(runs):
        device.start().boot()
        found.append(device.versions())
    return found


def test_a_version_that_keeps_crashing_the_agent_gives_way(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    served = crash_loop(device, 3)
    assert [s["rain"] for s in served] == [2, 2, 1]
    report = device.reports[-1]
    assert (report.phase, report.version) == (Phase.REJECTED, 2)
    assert "3 crashes" in report.reason
    last = device.start()
    last.boot()
    assert last.install(versions[2], 2).phase is Phase.REJECTED
    assert device.versions() == {"rain": 1}


def test_power_cuts_have_a_limit_of_their_own(device: Device, versions: list[DesiredModel]) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    found = []
    for number in range(5):
        device.machine.boot = f"boot-{number + 2}"
        found.append(crash_loop(device, 1)[0]["rain"])
    assert found == [2, 2, 2, 2, 1]


def test_a_clean_stop_is_no_crash(device: Device, versions: list[DesiredModel]) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    for _ in range(6):
        installer = device.start()
        installer.boot()
        installer.close()
    assert device.versions() == {"rain": 2} or crash_loop(device, 1) == [{"rain": 2}]


def test_a_served_probation_clears_the_count(device: Device, versions: list[DesiredModel]) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    crash_loop(device, 1)
    installer = device.start()
    installer.boot()
    device.clock.advance(11)
    installer.tick()
    assert [s["rain"] for s in crash_loop(device, 2)] == [2, 2]


def test_when_the_last_good_one_crashes_too_nothing_serves_and_the_agent_goes_on(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    served = crash_loop(device, 7)
    assert [s.get("rain") for s in served] == [2, 2, 1, 1, 1, None, None]
    installer = device.start()
    assert installer.boot() == []
    assert device.phases() == ["rejected"]
    assert installer.install(versions[3], 9).phase is Phase.ACTIVE


def test_a_new_version_takes_the_blame_not_its_neighbour(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[0]).install(versions[1], 2)
    served = crash_loop(device, 4)
    assert [s.get("rain") for s in served] == [1, 1, None, None]
    assert all(s["snow"] == 1 for s in served)


def test_crashes_during_qualification_count_too(
    device: Device, versions: list[DesiredModel]
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    proved(device, versions[1]).close()
    device.on_prove = die
    for _ in range(3):
        installer = device.start()
        installer.boot()
        device.clock.advance(11)
        installer.tick()
        with pytest.raises(Killed):
            installer.install(versions[2], 2)
    device.on_prove = lambda: None
    last = device.start()
    last.boot()
    report = last.install(versions[2], 2)
    assert report.phase is Phase.REJECTED
    assert "qualify" in report.reason
    assert device.versions() == {"rain": 1}


def damage(device: Device, version: DesiredModel, file: str = "model.onnx") -> None:
    folder = device.folder / "versions" / f"{version.manifest}.fp32"
    path = next(folder.rglob(file))
    path.write_bytes(b"X" + path.read_bytes()[1:])


@pytest.mark.parametrize("file", ["*.onnx", "weights.bin", "manifest.json", "reference.json"])
def test_a_damaged_version_never_serves_and_is_fetched_again(
    device: Device, versions: list[DesiredModel], file: str
) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    damage(device, versions[2], file)
    installer = device.start()
    installer.boot()
    assert device.versions() == {"rain": 1}
    assert (device.reports[-1].phase, device.reports[-1].version) == (Phase.FAILED, 2)
    assert installer.install(versions[2], 2).phase is Phase.ACTIVE
    assert device.versions() == {"rain": 2}


def test_with_everything_damaged_nothing_serves_until_it_is_fetched(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).close()
    damage(device, versions[1], "*.onnx")
    installer = device.start()
    assert installer.boot() == []
    assert device.phases() == ["failed"]
    assert installer.install(versions[1], 1).phase is Phase.ACTIVE


def test_a_version_that_no_longer_loads_gives_way_at_boot(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).install(versions[2], 2)
    device.unloadable.add(versions[2].manifest)
    installer = device.start()
    installer.boot()
    assert device.versions() == {"rain": 1}
    assert device.reports[-1].phase is Phase.REJECTED


def test_a_lost_memory_is_set_aside_and_the_device_begins_anew(
    device: Device, versions: list[DesiredModel]
) -> None:
    proved(device, versions[1]).close()
    (device.folder / "installed.json").write_bytes(b"{")
    installer = device.start()
    assert installer.boot() == []
    assert (device.folder / "installed.damaged").read_bytes() == b"{"
    device.hub.requests.clear()
    assert installer.install(versions[1], 1).phase is Phase.ACTIVE
    assert not any(p.startswith("/blobs/") and versions[1].manifest not in p
                   for p, _ in device.hub.requests)  # fmt: skip


def test_the_memory_is_private_and_small(device: Device, versions: list[DesiredModel]) -> None:
    proved(device, versions[1])
    path = device.folder / "installed.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes())["models"][0]["active"]["is_confirmed"] is True


def test_a_probation_ends_while_an_installation_runs(
    device: Device, versions: list[DesiredModel]
) -> None:
    installer = proved(device, versions[1])
    installer.install(versions[2], 2)

    def tick() -> None:
        device.clock.advance(11)
        installer.tick()

    device.on_prove = tick
    device.refusals[versions[3].manifest] = Verdict(reason="no")
    installer.install(versions[3], 3)
    device.on_prove = lambda: None
    assert [s["rain"] for s in crash_loop(device, 2)] == [2, 2]
    state = json.loads((device.folder / "installed.json").read_bytes())["models"][0]
    assert state["active"]["version"] == 2


def test_bounds_are_checked() -> None:
    for kind, bad in ((AttemptBounds, {"crashes": 0}), (FetchBounds, {"attempts": 0})):
        with pytest.raises(InvalidInput):
            convert(bad, kind, "bounds")


# -------------------------------------------------------------------- phases


def test_every_phase_and_event_has_its_move_or_is_refused() -> None:
    for phase in Phase:
        for event in Event:
            if (phase, event) in MOVES:
                assert move(phase, event, "rain") is MOVES[phase, event]
            else:
                with pytest.raises(Conflict, match="rain"):
                    move(phase, event, "rain")


def test_only_proof_leads_to_serving() -> None:
    before = {phase for (phase, event), to in MOVES.items() if to is Phase.ACTIVATING}
    assert before == {Phase.QUALIFYING}
    ways = {(p, e) for (p, e), to in MOVES.items() if to is Phase.ACTIVE and e is not Event.SERVES}
    assert ways == {(Phase.ACTIVATING, Event.ACTIVATED)}


# ------------------------------------------------------------ measured plans


HERE = ModelPlan(placement="loop", max_stack=64, one_row_us=9.0, measured_on=fingerprint())


def test_the_measured_plan_goes_along_and_is_there_after_a_restart(
    device: Device, versions: list[DesiredModel]
) -> None:
    device.refusals[versions[1].manifest] = Verdict(plan=HERE)
    proved(device, versions[1]).close()
    assert device.serving["rain"].plan == HERE
    device.on_prove = lambda: pytest.fail("a plan that holds is not measured again")
    device.start().boot()
    assert device.serving["rain"].plan == HERE


def test_a_plan_of_another_build_is_measured_again_once(
    device: Device, versions: list[DesiredModel]
) -> None:
    device.refusals[versions[1].manifest] = Verdict(plan=replace(HERE, measured_on="another"))
    proved(device, versions[1]).close()
    stale = device.serving["rain"].plan
    assert stale is not None
    assert (stale.placement, stale.max_stack) == ("auto", 1)
    device.refusals[versions[1].manifest] = Verdict(plan=HERE)
    device.start().boot()
    assert device.serving["rain"].plan == HERE
    device.on_prove = lambda: pytest.fail("it was measured already")
    device.start().boot()
    assert device.serving["rain"].plan == HERE


def test_a_version_that_does_not_hold_under_another_build_gives_way(
    device: Device, versions: list[DesiredModel]
) -> None:
    device.refusals[versions[1].manifest] = Verdict(plan=HERE)
    device.refusals[versions[2].manifest] = Verdict(plan=replace(HERE, measured_on="another"))
    installer = proved(device, versions[1])
    assert installer.install(versions[2], 2).phase is Phase.ACTIVE
    installer.close()
    device.refusals[versions[2].manifest] = Verdict(reason="golden_mismatch: other kernels")
    (restored,) = device.start().boot()
    assert restored.version == 1
    assert "does not hold here" in device.reports[-1].reason


def test_a_version_that_cannot_be_judged_now_serves_without_stacks(
    device: Device, versions: list[DesiredModel]
) -> None:
    device.refusals[versions[1].manifest] = Verdict(plan=replace(HERE, measured_on="another"))
    proved(device, versions[1]).close()
    device.refusals[versions[1].manifest] = Verdict(reason="no child", is_transient=True)
    (restored,) = device.start().boot()
    assert restored.plan is not None
    assert (restored.plan.placement, restored.plan.max_stack) == ("auto", 1)
