"""Drives the replay: how fast, how far, and what to say meanwhile."""

import time
from collections.abc import Callable

from examples.rainfall.commands import Processes, StepFailed
from examples.rainfall.outlook import Outlook, look
from examples.rainfall.pace import Pace
from examples.rainfall.replay import Replay
from fogline import console
from fogline.client import Client
from fogline.clock import wait_until
from fogline_hub.client import HubClient

TICK_S = 0.02
LOOK_S = 0.4
SAY_S = 5.0
SETTLE_S = 120.0
"""Longest wait for the last messages, and for what the hub has begun."""


def drive(replay: Replay, hub: HubClient, processes: Processes, pace: Pace) -> Outlook:
    """Runs the replay to its end; returns the last look at the hub.

    Raises:
        StepFailed: a process has ended.
    """
    seen = look(hub)
    before = looked = said = time.monotonic()
    told = ""
    while not replay.is_over:
        time.sleep(TICK_S)
        now = time.monotonic()
        if now - looked > LOOK_S:
            processes.check()
            seen, looked = look(hub), now
        lag = seen.lag_days(replay.weather.time(replay.clock.today))
        replay.clock.advance((now - before) * pace.speed(lag_days=lag, is_working=seen.is_working))
        before = now
        if now - said > SAY_S or seen.doing() != told:
            console.say(_line(replay, seen))
            said, told = now, seen.doing()
    return look(hub)


def settle(hub: HubClient, stations: list[Client], last_event_us: int) -> Outlook:
    """Waits until everything is home and judged, and nothing is under way.

    Raises:
        StepFailed: it takes too long.
    """
    empty = lambda: not any(sum(s.status().outbox_pending.values()) for s in stations)  # noqa: E731
    _wait("the stations' outboxes to be empty", empty)
    _wait("the hub to have seen it all", lambda: look(hub).watermark_us >= last_event_us)
    _wait("the hub to finish its work", lambda: not look(hub).is_working)
    return look(hub)


def _wait(what: str, condition: Callable[[], bool]) -> None:
    if not wait_until(condition, timeout_s=SETTLE_S):
        raise StepFailed(f"waited {SETTLE_S:g} s for {what}, in vain")


def _line(replay: Replay, seen: Outlook) -> str:
    today = min(replay.clock.today, replay.weather.days - 1)
    asked = sum(t.requests for t in replay.traffic)
    failed = sum(t.failures for t in replay.traffic)
    serving = replay.answers.version[replay.first_day : today]
    version = f"v{int(serving.max())}" if len(serving) and serving.max() > 0 else "-"
    text = (
        f"  {replay.weather.time(today):%Y-%m}  {asked} requests, {failed} failed, newest {version}"
    )
    return text + (f"; {seen.doing()}" if seen.doing() else "")
