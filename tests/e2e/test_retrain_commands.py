"""An operator's commands against a whole hub whose jobs process works by itself."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fogline.bundle import Bundle
from fogline.clock import wait_until
from fogline.sandbox import Outcome
from fogline_hub.config import HubFolder
from tests.hubs import fogline, start_hub
from tests.retraining import MODEL, RetrainingHub, first_bundle

__all__ = ["first_bundle"]

ROOT = Path(__file__).parents[2]
POLICY = """
group = "field"
[watch]
window_s = 864000
block_s = 86400
lateness_s = 86400
[retrain]
trainer = "tests.trainers:train"
history_s = 5184000
holdout_s = 432000
min_rows = 300
cooldown_s = 864000
params = { seed = 1 }
"""


@pytest.fixture
def folder(tmp_path: Path, first_bundle: Bundle) -> HubFolder:
    """A hub with a version, traffic that changed, and no automation yet."""
    made = RetrainingHub(HubFolder(tmp_path / "hub"), first_bundle)
    made.first_version(None)
    made.live(12, is_changed=False)
    made.live(24, is_changed=True)
    made.close()
    config = f'[jobs]\ntrainer_path = "{ROOT}"\ntiming_budget_s = 0.05\ninterval_s = 0.2\n'
    (made.folder.root / "hub.toml").write_text(config)
    return made.folder


def test_a_policy_sets_the_loop_going_and_every_part_of_it_is_shown(
    folder: HubFolder, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    hub = start_hub(folder)

    def run(*words: str) -> Outcome:
        return fogline(*words, env=hub.environment())

    def ask(*words: str) -> Any:
        outcome = run(*words, "--json")
        assert outcome.is_success, outcome.stderr
        return json.loads(outcome.stdout)

    try:
        assert run("retrain", "start", MODEL).code == 9
        made = ask("models", "automate", MODEL, "--policy", str(policy))
        assert made["automation"]["retrain"]["min_rows"] == 300
        assert wait_until(lambda: bool(ask("retrain", "list")), timeout_s=30.0, poll_s=0.2)
        assert wait_until(
            lambda: ask("retrain", "show", "1")["state"] in ("rolling_out", "failed", "rejected"),
            timeout_s=60.0,
            poll_s=0.2,
        )
        shown = ask("retrain", "show", "1")
        assert shown["state"] == "rolling_out", shown["reason"]
        assert shown["judgement"]["is_promoted"]
        assert run("retrain", "start", MODEL).code == 9
        drift = ask("drift", "show", MODEL)
        assert drift["alarms"]["alarms"][0]["version"] == 1
        assert {a["aspect"] for a in ask("drift", "list", MODEL)[0]["aspects"]} == {
            "input", "output", "accuracy",
        }  # fmt: skip
        counted = ask("samples", "list", MODEL)
        assert [c["device"] for c in counted] == ["dev-a", "dev-b"]
        out = tmp_path / "rows.parquet"
        ask("samples", "export", MODEL, "--out", str(out), "--labelled")
        assert pq.read_table(out).num_rows == sum(c["labelled"] for c in counted)
        assert run("samples", "export", MODEL, "--out", str(out)).code == 2
        actions = [r["action"] for r in ask("audit", "list")]
        assert "samples.exported" in actions
        for words in (("drift", "show", MODEL), ("drift", "list"), ("retrain", "show", "1")):
            assert run(*words).is_success
        assert run("drift", "list", "nothing").code == 3
    finally:
        assert hub.stop().is_success
