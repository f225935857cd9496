"""The steps in their order, from an empty folder to all that was counted and concluded."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from examples.rainfall import first_model, outlook
from examples.rainfall.commands import Processes, StepFailed
from examples.rainfall.drive import drive, settle
from examples.rainfall.first_model import MODEL
from examples.rainfall.outlook import Labels, Outlook
from examples.rainfall.replay import Replay, Traffic
from examples.rainfall.results import Results, StationResult
from examples.rainfall.settings import (
    ALPHA,
    AUTOMATION,
    CAPTURE,
    OUTCOME_DELAY_DAYS,
    PACE,
    STATIONS,
    TRAINED_SEASONS,
    Settings,
)
from examples.rainfall.stage import ANY_PORT, Hub, Station, start_hub, start_stations
from examples.rainfall.weather import Weather, read_weather
from fogline import console
from fogline.client import Client
from fogline.clock import SystemClock
from fogline.wire.edge_pb2 import StatusResponse
from fogline_hub.client import HubClient


def run(settings: Settings, state: Path) -> Results:
    """Plays the whole loop; every process that it started is gone when it returns or raises.

    Args:
        settings: The arguments.
        state: New folder for what hub and stations keep.

    Raises:
        StepFailed: a step did not do what it says.
        FoglineError: neither did Fogline.
    """
    weather = read_weather(SystemClock().now())
    if settings.shuffle:
        weather = weather.shuffled(settings.seed)
    with Processes(state) as processes:
        with ThreadPoolExecutor(1) as beside:
            packed = beside.submit(_packed, settings, state / "model", weather)
            hub = start_hub(state / "hub", processes)
            stations = start_stations(state, STATIONS, hub, processes)
            bundle = packed.result()
        _roll_out(settings, state / "model", bundle, hub)
        first_day = weather.day_of_season(TRAINED_SEASONS)
        replay = Replay(
            weather=weather,
            addresses=tuple(s.address for s in stations),
            model=MODEL,
            first_day=first_day,
            delay_days=OUTCOME_DELAY_DAYS,
            max_skew_days=PACE.max_skew_days,
        )
        days = weather.days - first_day
        with (
            console.step(f"{days} days through the stations' gRPC endpoints"),
            hub.client() as client,
            replay,
        ):
            drive(replay, client, processes, PACE)
        with ExitStack() as stack:
            client = stack.enter_context(hub.client())
            answering = [stack.enter_context(Client(s.address)) for s in stations]
            seen = _settle(client, answering, weather)
            results = Results(
                weather=weather,
                first_day=first_day,
                answers=replay.answers,
                champion=_champion(bundle, weather, processes),
                stations=tuple(
                    _station(one, status.status(), traffic, state / "hub" / "lake")
                    for one, status, traffic in zip(
                        stations, answering, replay.traffic, strict=True
                    )
                ),
                retrainings=seen.retrainings,
                alarms=outlook.alarms(client).alarms,
                reports=outlook.reports(client),
                window_alpha=ALPHA,
            )
        killed = processes.stop()
    if killed:
        raise StepFailed(f"{', '.join(killed)} did not end when asked to, and had to be killed")
    return results


def _packed(settings: Settings, folder: Path, weather: Weather) -> Path:
    """What a data scientist does, while the hub and its stations start."""
    trained = first_model.train_first(folder, weather, TRAINED_SEASONS, settings.seed)
    bundle, converted, optimised = first_model.pack(folder, trained)
    for line in first_model.proof(converted, optimised):
        console.say(f"  {line}")
    return bundle


def _roll_out(settings: Settings, folder: Path, bundle: Path, hub: Hub) -> None:
    first_model.push(hub, bundle)
    first_model.automate(hub, folder, AUTOMATION.format(seed=settings.seed))
    first_model.deploy(hub, CAPTURE)


def _settle(hub: HubClient, stations: list[Client], weather: Weather) -> Outlook:
    # Each station was asked about one of the last days, so all have come to the first of them.
    last = weather.time(weather.days - len(stations))
    with console.step("the last messages come home"):
        return settle(hub, stations, int(last.timestamp() * 1e6))


def _station(
    station: Station, status: StatusResponse, traffic: Traffic, lake: Path
) -> StationResult:
    serving = [f"{m.name}@{m.version}" for m in status.models if m.state == "ACTIVE"]
    return StationResult(
        name=station.name,
        traffic=traffic,
        serving=", ".join(serving) or "nothing",
        streams=outlook.stored(lake, station.device, dict(status.metrics)),
        bytes_sent=status.metrics["bytes_published"],
    )


def _champion(bundle: Path, weather: Weather, processes: Processes) -> Labels:
    """What the first version answers to every day, asked of it as a newcomer would serve it."""
    with console.step("fogline serve: the first version answers all days, for comparison"):
        processes.start("serve", "serve", bundle, "--grpc", ANY_PORT)
        address = processes.wait_ready("serve")["grpc"]
        return outlook.answers(address, weather.readings.astype(np.float32))
