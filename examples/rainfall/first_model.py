"""The first version: trained on the first years, converted, measured, signed, rolled out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from examples.rainfall import trainer
from examples.rainfall.commands import StepFailed, ask
from examples.rainfall.settings import GROUP
from examples.rainfall.stage import Hub
from examples.rainfall.weather import SEASON, Weather
from fogline import console

MODEL = "rain"
ALIAS = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A saved estimator pipeline, and the rows that it was and was not trained on."""

    model: Path
    train: Path
    holdout: Path


def train_first(folder: Path, weather: Weather, seasons: int, seed: int) -> Trained:
    """Trains on all of the first seasons but the last, which is held out.

    The season that follows the training is what the model meets next, so its errors there are the
    honest expectation; rows drawn from the middle would resemble their trained neighbours.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    split, end = weather.day_of_season(seasons - 1), weather.day_of_season(seasons)
    train, holdout = data / "train.parquet", data / "holdout.parquet"
    _write(train, weather, range(split))
    _write(holdout, weather, range(split, end))
    with console.step(f"train on {split} days, hold the next {end - split} out"):
        made = trainer.train(str(data), "", {"seed": seed}, str(folder))
    return Trained(model=folder / made["model"], train=train, holdout=holdout)


def pack(folder: Path, trained: Trained) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Converts and optimises.

    Returns:
        The bundle's folder, and what `fogline convert` and `fogline optimize` answered.

    Raises:
        StepFailed: the converted model's answers are not the original's.
    """
    bundle = folder / "bundle"
    target = ("--target", trainer.ACTUAL)
    season = f"{SEASON.total_seconds()}s"
    with console.step("fogline convert"):
        converted = ask(
            *("convert", trained.model, "--name", MODEL, "--sample", trained.train, *target),
            *("--holdout", trained.holdout, "--season", season, "--out", bundle),
        )
    with console.step("fogline optimize"):
        optimised = ask("optimize", bundle, "--data", trained.holdout, *target)
    if len(optimised["measurements"]) < 2:
        raise StepFailed("`fogline optimize` measured no smaller variant")
    return bundle, converted, optimised


def automate(hub: Hub, folder: Path, automation: str) -> None:
    """Lets the hub watch, retrain and sign by itself, within the operator's policy."""
    policy = folder / "automation.toml"
    policy.write_text(automation)
    with console.step("fogline models automate"):
        hub.ask("models", "automate", MODEL, "--policy", policy)


def push(hub: Hub, bundle: Path) -> str:
    """Signs and publishes; returns `NAME@VERSION`."""
    with console.step("fogline push"):
        version = hub.ask("push", MODEL, bundle, "--alias", ALIAS)["version"]
    return f"{version['model']}@{version['number']}"


def deploy(hub: Hub, capture: Mapping[str, object]) -> None:
    """Rolls the champion out in two waves.

    Raises:
        StepFailed: the rollout did not succeed.
    """
    settings = [word for k, v in capture.items() for word in ("--capture", f"{k}={v}")]
    waves = ("--waves", "1,100%", "--wait", "--timeout", "60")
    with console.step(f"fogline deploy {MODEL}@{ALIAS}: one station, then the others"):
        done = hub.ask(
            *("deploy", f"{MODEL}@{ALIAS}", "--group", GROUP, *waves, *settings), allowed=(0, 1)
        )
    if done["rollout"]["state"] != "succeeded":
        raise StepFailed(
            f"the first rollout {done['rollout']['state']}: {done['rollout']['reason']}"
        )


def _write(path: Path, weather: Weather, days: range) -> None:
    columns: dict[str, Any] = {
        name: weather.readings[days.start : days.stop, i] for i, name in enumerate(weather.columns)
    }
    columns[trainer.ACTUAL] = weather.rain[days.start : days.stop]
    columns[trainer.WEIGHT] = [1.0] * len(days)
    columns[trainer.EVENT_TIME] = [weather.time(day) for day in days]
    pq.write_table(pa.table(columns), path)


def proof(converted: Mapping[str, Any], optimised: Mapping[str, Any]) -> list[str]:
    """For people: is the converted model the original, and what do its variants cost?"""
    lines = []
    lines.append(
        f"parity {converted['verdict'].replace('_', ' ')}: {converted['rows_differing']} of "
        f"{converted['rows']} rows differ, {converted['label_flips']} labels, at most by "
        f"{converted['max_abs_difference']:.1e}; {len(converted['probes'])} probes beside"
    )
    lines.append(f"held out: {converted['held_out_correct']} of {converted['held_out_rows']} right")
    for one in optimised["measurements"]:
        timing = one.get("timing")
        took = f"{timing['p50']:.1f} us" if timing else "not timed"
        told = "the base" if one["name"] == optimised["base"] else one["reason"]
        kept = "" if one["is_kept"] else "not kept, "
        lines.append(f"{one['name']}: {one['size_bytes']} bytes, {took}; {kept}{told}")
    return lines
