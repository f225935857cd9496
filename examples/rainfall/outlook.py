"""What the hub knows and does, asked over its HTTP API, and what stands in its lake."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from examples.rainfall.first_model import MODEL
from examples.rainfall.results import Stored
from fogline.client import Client
from fogline_hub.api.verdicts import ModelAlarms
from fogline_hub.client import HubClient
from fogline_hub.lake import Lake
from fogline_hub.lake.tables import FEEDBACK, SUMMARIES, samples_table
from fogline_hub.monitor import WindowReport
from fogline_hub.retrain import Retraining
from fogline_hub.retrain.states import ENDED, State

Labels = NDArray[np.int64]
MAX_WINDOWS = 1000
TABLES = {"feedback": FEEDBACK, "sample": samples_table(MODEL), "summary": SUMMARIES}
"""Streams of a device, and the tables that their messages become rows of."""
ROW_KEYS = {"feedback": ["prediction_id", "row"], "sample": ["prediction_id", "row"], "summary": []}
"""What, beside device, outbox and number of the message, tells the rows of one message apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """One look at the hub."""

    watermark_us: int
    """Event time up to which it has seen the model's traffic; 0 before any."""
    retrainings: tuple[Retraining, ...]

    @property
    def is_working(self) -> bool:
        """Whether a challenger is being made or rolled out; one that waits for rows is not."""
        return any(
            r.state not in ENDED and r.state is not State.GATHERING for r in self.retrainings
        )

    def lag_days(self, today: datetime) -> float:
        """Days that the hub is behind."""
        if self.watermark_us == 0:
            return 0.0
        return (today.timestamp() - self.watermark_us / 1e6) / 86_400

    def doing(self) -> str:
        """For people."""
        newest = next((r for r in self.retrainings if r.state not in ENDED), None)
        return "" if newest is None else f"retraining {newest.id}: {newest.state.value}"


def look(client: HubClient) -> Outlook:
    return Outlook(
        watermark_us=alarms(client).watermark_us,
        retrainings=client.get("/v1/retrainings", tuple[Retraining, ...], model=MODEL),
    )


def alarms(client: HubClient) -> ModelAlarms:
    return client.get(f"/v1/models/{MODEL}/alarms", ModelAlarms)


def reports(client: HubClient) -> tuple[WindowReport, ...]:
    path = f"/v1/models/{MODEL}/verdicts"
    return client.get(path, tuple[WindowReport, ...], limit=MAX_WINDOWS)


def stored(lake_folder: Path, device: str, metrics: Mapping[str, int]) -> dict[str, Stored]:
    """Counts of each stream, by the numbers that the device gave its messages.

    Args:
        lake_folder: The hub's lake.
        device: Its id.
        metrics: The agent's own, with what it appended to its outbox and dropped from it.
    """
    lake = Lake(lake_folder)
    found = {}
    for stream, table in TABLES.items():
        keys = ["device", "outbox_id", "seq", *ROW_KEYS[stream]]
        rows = lake.table(table).read(keys)
        rows = rows.filter(pc.equal(rows["device"], device))
        found[stream] = Stored(
            sent=metrics[f"outbox_{stream}_appended"],
            stored=_different(rows, ["outbox_id", "seq"]),
            rows=rows.num_rows,
            doubled=rows.num_rows - _different(rows, keys),
            dropped=metrics[f"outbox_{stream}_dropped"],
        )
    return found


def _different(rows: Any, keys: list[str]) -> int:
    return int(rows.group_by(keys).aggregate([]).num_rows)


def answers(address: str, readings: NDArray[np.float32]) -> Labels:
    """Labels of a served model for all days, int64 [days]."""
    with Client(address) as client:
        return np.asarray(client.predict(MODEL, {"input": readings}).outputs["label"], np.int64)
