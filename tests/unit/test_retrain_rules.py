"""When a retraining starts, what it takes, and what it refuses: the parts without a disk."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from fogline.bundle import FileEntry, Manifest, Variant
from fogline.errors import Conflict, InvalidInput, NotFound, Unsupported
from fogline.records import load_config
from fogline.schema import Field, Schema
from fogline_hub.retrain import ENDED, Automation, Retraining, State, judge
from fogline_hub.retrain.child import find
from fogline_hub.retrain.dataset import Span, Waiting, as_traffic, span_of
from fogline_hub.retrain.folder import prune
from fogline_hub.retrain.interface import difference, input_columns, label_of
from fogline_hub.retrain.rule import is_due
from fogline_hub.retrain.states import TRANSITIONS, Event, move
from tests.retraining import policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY_US = 86_400 * 10**6
RETRAIN = policy().retrain


def ended(state: State, ended_us: int = 100 * DAY_US) -> Retraining:
    return Retraining(
        id=1, model="m", champion=1, alarm=1, asked_by="hub:monitor", state=state, reason="",
        change_us=0, ended_us=ended_us, dataset=None, judgement=None, challenger=None, rollout=None,
        created_at=NOW, changed_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "day", "expected"),
    [
        (None, 0, True),
        (ended(State.TRAINING), 1000, False),
        (ended(State.REJECTED), 109, False),
        (ended(State.REJECTED), 110, True),
        (ended(State.FAILED), 109, False),
        (ended(State.PROMOTED), 101, True),
    ],
)
def test_one_attempt_at_a_time_and_after_a_failed_one_a_pause_in_event_time(
    last: Retraining | None, day: int, expected: bool
) -> None:
    assert RETRAIN is not None
    assert is_due(last=last, watermark_us=day * DAY_US, retrain=RETRAIN) is expected


def test_the_held_out_window_lies_after_the_change_and_before_what_is_still_on_its_way() -> None:
    def span(watermark: int, change: int) -> Span | Waiting:
        return span_of(
            watermark_us=watermark * DAY_US, lateness_s=86_400.0, holdout_s=5 * 86_400.0,
            history_s=20 * 86_400.0, change_us=change * DAY_US,
        )  # fmt: skip

    assert isinstance(span(106, 100), Waiting)
    assert span(110, 100) == Span(
        since_us=100 * DAY_US, holdout_us=104 * DAY_US, until_us=109 * DAY_US
    )
    assert span(110, 0) == Span(
        since_us=84 * DAY_US, holdout_us=104 * DAY_US, until_us=109 * DAY_US
    )


def test_every_state_ends_or_leads_on_and_ended_ones_lead_nowhere() -> None:
    assert {s for s, _ in TRANSITIONS} == set(State) - ENDED
    for state in ENDED:
        for event in Event:
            with pytest.raises(Conflict, match=f"is {state.value} and cannot take {event.value}"):
                move("retraining 1", state, event)


def test_rows_that_were_captured_more_often_do_not_look_more_frequent() -> None:
    rows = 3000
    rare = np.arange(rows) % 3 == 0
    weights = np.where(rare, 10.0, 1.0)
    table = pa.table({"x": rare, "actual": rare, "weight": weights, "event_time": [NOW] * rows})
    drawn = as_traffic(table)
    assert drawn.column_names == ["x", "actual"]
    assert drawn.num_rows == rows
    assert np.mean(drawn["x"].to_numpy()) == pytest.approx(10 / 12, abs=0.02)
    alike = table.set_column(2, "weight", pa.array(np.full(rows, 2.0)))
    assert as_traffic(alike).equals(table.select(["x", "actual"]))


def test_a_challenger_must_take_and_give_the_same_tensors() -> None:
    label = Field(name="label", datatype="INT64", shape=(-1,), role="label", labels=("0", "1"))
    champion = Schema(
        inputs=(Field(name="input", datatype="FP32", shape=(-1, 2), columns=("a", "b")),),
        outputs=(label,),
    )
    assert difference(champion, champion) == ""
    wider = replace(champion, inputs=(replace(champion.inputs[0], datatype="FP64"),))
    assert "FP64" in difference(champion, wider)
    fewer = replace(champion, outputs=(replace(label, labels=("0",)),))
    assert "output" in difference(champion, fewer)


def test_a_trainer_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="trainer_path"):
        find("no.such.module:train", "")
    with pytest.raises(NotFound, match="nothing"):
        find("json:nothing", "")
    with pytest.raises(InvalidInput, match="no function"):
        find("json:__doc__", "")


def test_the_judge_promotes_a_clear_gain_and_nothing_less() -> None:
    rng = np.random.default_rng(0)
    truth, weights = rng.random(400), np.full(400, 2.0)
    better = judge(truth < 0.8, truth < 0.5, truth < 0.5, weights)
    assert better.is_promoted
    assert better.over_champion.low > 0
    same = judge(truth < 0.8, truth < 0.79, truth < 0.5, weights)
    assert not same.is_promoted
    assert "champion" in same.reason
    few = judge(truth[:20] < 0.8, truth[:20] < 0.1, truth[:20] < 0.1, weights[:20])
    assert "at least 30" in few.reason
    with pytest.raises(InvalidInput, match="one length"):
        judge(truth < 0.8, truth[:5] < 1, truth < 1, weights)
    with pytest.raises(InvalidInput, match="positive"):
        judge(truth < 0.8, truth < 1, truth < 1, weights * 0)


def test_a_judge_is_seldom_fooled_by_two_equal_models() -> None:
    rng = np.random.default_rng(1)
    fooled = 0
    for _ in range(300):
        ours, theirs = rng.random((2, 150)) < 0.7
        weights = rng.choice([1.0, 5.0], 150)
        fooled += judge(ours, theirs, np.zeros(150, dtype=np.bool_), weights).is_promoted
    assert fooled <= 300 * 0.025 + 7


def test_a_policy_is_read_from_toml_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    text = """
        group = "field"
        [watch]
        window_s = 864000
        block_s = 86400
        [retrain]
        trainer = "team.models:train"
        history_s = 1e7
        holdout_s = 1e6
        cooldown_s = 1e6
    """
    file.write_text(text)
    read = load_config(file, Automation)
    assert read.retrain is not None
    assert read.waves == "1,100%"
    file.write_text(text.replace("team.models:train", "os.system"))
    with pytest.raises(InvalidInput, match="trainer"):
        load_config(file, Automation)
    file.write_text(text + "speed = 3\n")
    with pytest.raises(InvalidInput, match="speed"):
        load_config(file, Automation)


def test_a_model_without_named_classes_is_not_retrained() -> None:
    entry = FileEntry(path="model.onnx", sha256="0" * 64, size_bytes=1)
    manifest = Manifest(
        format="fogline-bundle/1", name="m", created_at=NOW,
        schema=Schema(inputs=(Field(name="x", datatype="FP32", shape=(-1, -1)),), outputs=()),
        variants=(Variant(name="fp32", file="model.onnx", precision="fp32"),), files=(entry,),
    )  # fmt: skip
    with pytest.raises(Unsupported, match="only classifiers"):
        label_of(manifest)
    with pytest.raises(Unsupported, match="has no columns"):
        input_columns(manifest)


def test_files_of_old_retrainings_go_but_not_of_those_under_way(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4", "10", "intake"):
        (tmp_path / name).mkdir()
    prune(tmp_path, frozenset({2}), 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "2", "4", "intake"]
    prune(tmp_path, frozenset(), 9)
    assert len(list(tmp_path.iterdir())) == 4
