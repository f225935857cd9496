"""SIGKILL after the work of each step and before its record: every step is done again, once."""

import signal
import sys
from pathlib import Path

from fogline.bundle import Bundle
from fogline.failpoints import POINTS
from fogline.sandbox import Ending, Limits, run_child
from fogline_hub import audit, rollouts
from fogline_hub.config import HubFolder
from fogline_hub.registry import State as VersionState
from fogline_hub.retrain import State
from tests.retrain_child import CONFIG, ROOT
from tests.retraining import MODEL, RetrainingHub, first_bundle, policy

__all__ = ["first_bundle"]

STEPS = (State.TRAINING, State.CONVERTING, State.JUDGING, State.PUBLISHING)


def step_until_killed(folder: Path, failpoint: str) -> None:
    env = {"PYTHONPATH": str(ROOT)} | ({"FOGLINE_FAILPOINT": failpoint} if failpoint else {})
    outcome = run_child(
        [sys.executable, "-m", "tests.retrain_child", str(folder)],
        limits=Limits(timeout_s=120.0, oom_score_adj=None),
        env=env,
    )
    if failpoint:
        assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGKILL), outcome.stderr
    else:
        assert outcome.is_success, outcome.stderr


def test_a_kill_in_any_step_repeats_that_step_and_publishes_one_version(
    tmp_path: Path, first_bundle: Bundle
) -> None:
    assert [p for p in POINTS if p.startswith("retrain.")] == ["retrain.before_advance"]
    hub = RetrainingHub(HubFolder(tmp_path / "hub"), first_bundle, jobs_config=CONFIG)
    hub.first_version(policy())
    hub.live(16, is_changed=False)
    hub.live(24, is_changed=True)
    hub.notice()
    assert hub.newest().state is State.GATHERING
    for state in STEPS:
        # The first pass records the step that was cut off before, the second dies with its own.
        step_until_killed(hub.folder.root, "retrain.before_advance:2")
        assert hub.newest().state is state, hub.newest().reason
    step_until_killed(hub.folder.root, "")
    done = hub.newest()
    assert (done.state, done.challenger) == (State.ROLLING_OUT, 2), done.reason
    with hub.catalogue.reading() as connection:
        versions = hub.registry.versions(connection, MODEL)
        made = rollouts.listing(connection)
        actions = [r.action for r in audit.list(connection, limit=1000)]
    assert [(v.number, v.state) for v in versions] == [
        (2, VersionState.PUBLISHED),
        (1, VersionState.PUBLISHED),
    ]
    assert [(r.id, r.number) for r in made] == [(done.rollout, 2)]
    for state in (*STEPS, State.ROLLING_OUT):
        assert actions.count(f"retraining.{state.value}") == 1
    hub.close()
