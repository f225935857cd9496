"""The hub and its stations: made, started, asked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.rainfall.commands import ROOT, Processes, ask
from examples.rainfall.settings import GROUP
from fogline import console
from fogline_hub.client import HubClient

ANY_PORT = "127.0.0.1:0"

HUB_CONFIG = f"""\
# Years pass in seconds here, so what a hub does every few seconds is done more often.
[ingest]
commit_interval_s = 1.0

[jobs]
interval_s = 1.0
trainer_path = {json.dumps(str(ROOT))}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A running hub as its operator sees it."""

    url: str
    keys: Path
    token_file: Path

    def ask(self, *words: str | Path, allowed: tuple[int, ...] = (0,)) -> Any:
        """One command of the operator, and its answer."""
        env = {"FOGLINE_HUB": self.url, "FOGLINE_KEYS": str(self.keys)}
        return ask(*words, "--token-file", self.token_file, env=env, allowed=allowed)

    def client(self) -> HubClient:
        return HubClient(self.url, self.token_file.read_text().strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    name: str
    device: str
    address: str


def start_hub(folder: Path, processes: Processes) -> Hub:
    folder.mkdir(mode=0o700)
    (folder / "hub.toml").write_text(HUB_CONFIG)
    with console.step("fogline hub init, hub start"):
        made = ask("hub", "init", "--data", folder)
        processes.start(
            "hub", "hub", "start", "--data", folder, "--listen", ANY_PORT, "--mqtt", ANY_PORT
        )
        ready = processes.wait_ready("hub")
    return Hub(url=ready["api"], keys=Path(made["keys"]), token_file=Path(made["token_file"]))


def start_stations(folder: Path, count: int, hub: Hub, processes: Processes) -> tuple[Station, ...]:
    """Lets `count` stations in by one token, and starts them."""
    names = [f"station{n}" for n in range(1, count + 1)]
    with console.step(f"{count} stations: fogline agent enroll, agent run"):
        token = hub.ask("devices", "token", "--group", GROUP, "--uses", str(count))["text"]
        for name in names:
            env = {"FOGLINE_HUB": hub.url, "FOGLINE_TOKEN": token}
            ask("agent", "enroll", "--data", folder / name, "--name", name, env=env)
            processes.start(name, "agent", "run", "--data", folder / name, "--grpc", ANY_PORT)
        ready = {name: processes.wait_ready(name) for name in names}
    return tuple(
        Station(name=name, device=said["device"], address=said["grpc"])
        for name, said in ready.items()
    )
