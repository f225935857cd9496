"""A hub, agents and real models: pushed, rolled out, asked, observed, killed and gone back."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from fogline.clock import wait_until
from fogline_hub.lake import Lake, samples
from tests.agents import RunningAgent, enroll, make_token, start_agent
from tests.hubs import RunningHub, fogline
from tests.hubs import hub as hub  # noqa: PLC0414 - a fixture
from tests.hubs import hub_folder as hub_folder  # noqa: PLC0414 - a fixture
from tests.models import fit_classifier, save_constant


class Stations:
    """Agents that a test starts, all ended with it."""

    def __init__(self, hub: RunningHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.running: list[RunningAgent] = []

    def add(self, count: int = 1) -> list[RunningAgent]:
        token = make_token(self.hub, uses=count)
        first = len(self.running)
        for i in range(first, first + count):
            enroll(self.hub, self.folder / f"station-{i}", token, f"station-{i}")
            self.running.append(start_agent(self.folder / f"station-{i}"))
        return self.running[first:]

    def restart(self, agent: RunningAgent) -> RunningAgent:
        agent.child.wait(20.0)
        again = start_agent(agent.folder)
        self.running[self.running.index(agent)] = again
        return again


@pytest.fixture
def stations(hub: RunningHub, tmp_path: Path) -> Iterator[Stations]:
    made = Stations(hub, tmp_path)
    yield made
    for agent in made.running:
        agent.child.kill()


def push(hub: RunningHub, name: str, path: Path, *options: str) -> None:
    done = fogline("push", name, str(path), *options, env=hub.environment())
    assert done.code == 0, done.stderr


def deploy(hub: RunningHub, ref: str, *options: str) -> dict[str, object]:
    words = ("deploy", ref, "--group", "stations", "--wait", "--timeout", "50", "--json")
    done = fogline(*words, *options, env=hub.environment())
    answer: dict[str, object] = json.loads(done.stdout)
    return answer | {"code": done.code}


def constant(agent: RunningAgent, name: str = "sum") -> float:
    with agent.client() as client:
        rows = np.zeros((1, 2), np.float32)
        return float(client.predict(name, {"x": rows}).outputs["y"][0, 0])


def test_a_version_reaches_every_device_and_comes_back_after_a_kill(
    hub: RunningHub, stations: Stations, tmp_path: Path
) -> None:
    first, second = stations.add(2)
    push(hub, "sum", save_constant(tmp_path / "one.onnx", 1.0), "--alias", "champion")
    assert deploy(hub, "sum@champion")["code"] == 0
    assert [constant(a) for a in (first, second)] == [1.0, 1.0]
    push(hub, "sum", save_constant(tmp_path / "two.onnx", 2.0))
    assert deploy(hub, "sum@2")["code"] == 0
    assert [constant(a) for a in (first, second)] == [2.0, 2.0]

    os.kill(first.child.pid, signal.SIGKILL)
    hub.stop()
    again = stations.restart(first)
    assert again.models == ("sum@2",)
    assert constant(again) == 2.0
    assert second.stop().code == 0


def test_a_late_device_gets_what_its_group_runs(
    hub: RunningHub, stations: Stations, tmp_path: Path
) -> None:
    push(hub, "sum", save_constant(tmp_path / "one.onnx", 1.0))
    assert deploy(hub, "sum@1")["code"] == 0
    (late,) = stations.add()
    late.wait_serves("sum@1")
    assert constant(late) == 1.0


def test_what_was_served_and_what_came_true_is_in_the_lake_exactly_once(
    hub: RunningHub, stations: Stations, tmp_path: Path
) -> None:
    pipeline, rows, classes = fit_classifier()
    joblib.dump(pipeline, tmp_path / "iris.joblib")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    frame = pd.DataFrame(rows.astype(np.float64), columns=names).assign(species=classes)
    frame.to_parquet(tmp_path / "iris.parquet")
    words = ("convert", str(tmp_path / "iris.joblib"), "--sample", str(tmp_path / "iris.parquet"))
    bundle = tmp_path / "iris-bundle"
    done = fogline(*words, "--target", "species", "--name", "iris", "--out", str(bundle))
    assert done.code == 0, done.stderr
    push(hub, "iris", bundle)
    (agent,) = stations.add()
    capture = ("--capture", "sample_rate=1.0", "--capture", "flush_interval_s=0.2")
    assert deploy(hub, "iris@1", *capture)["code"] == 0

    with agent.client() as client:
        ids = [client.predict("iris", {"input": rows[i : i + 1]}).id for i in range(len(rows))]
        for given, actual in zip(ids, classes, strict=True):
            assert client.feedback(given, [int(actual)]).accepted == 1
        assert client.feedback(ids[0], [0]).duplicates == 1

        def is_home() -> bool:
            pending = client.status().outbox_pending
            return not any(pending.values())

        def labelled() -> int:
            return int(samples(Lake(hub.folder.lake), "iris", labelled=True).num_rows)

        assert wait_until(lambda: labelled() == 150 and is_home(), timeout_s=30.0)
    stored = samples(Lake(hub.folder.lake), "iris")
    assert len(set(stored["prediction_id"].to_pylist())) == stored.num_rows == 150
    assert sorted(stored["in.petal width"].to_pylist()) == pytest.approx(sorted(rows[:, 3]))
    assert set(pc.unique(stored["inclusion_probability"]).to_pylist()) == {1.0}
