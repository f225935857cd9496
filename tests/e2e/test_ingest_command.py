"""The ingest process as a command: what it says when it cannot work."""

import sys
from pathlib import Path

from fogline.clock import SystemClock
from fogline.sandbox import Limits, Outcome, run_child
from fogline_hub.broker import Broker
from fogline_hub.signer import create_trust

LIMITS = Limits(timeout_s=30)


def run(folder: Path, *, config: bytes = b"", mqtt: str = "127.0.0.1:9") -> Outcome:
    argv = [sys.executable, "-m", "fogline_hub.ingest", str(folder), "--mqtt", mqtt]
    return run_child(argv, limits=LIMITS, stdin=config)


def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    create_trust(folder, tmp_path / "operator", SystemClock())
    Broker(folder / "broker", "127.0.0.1:0").prepare()
    return folder


def test_a_folder_that_is_no_hub_is_named(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert outcome.code == 3
    assert "the broker was never prepared" in outcome.last_words()


def test_configuration_with_an_unknown_key_or_bad_bound_is_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    for config, word in ((b'{"comit": 1}', "comit"), (b'{"batch_rows": 0}', "batch_rows")):
        outcome = run(folder, config=config)
        assert outcome.code == 2
        assert word in outcome.last_words()


def test_a_broker_that_is_not_on_this_machine_is_refused(tmp_path: Path) -> None:
    outcome = run(prepared(tmp_path), mqtt="192.0.2.1:1883")
    assert outcome.code == 2
    assert "not on this machine" in outcome.last_words()


def test_a_lake_whose_log_was_cut_off_is_not_written(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    (folder / "lake" / "events" / "_delta_log").mkdir(parents=True)
    (folder / "lake" / "events" / "_delta_log" / f"{0:020}.json").write_text("{}")
    outcome = run(folder)
    assert outcome.code in (5, 7)
    assert "events" in outcome.last_words()
