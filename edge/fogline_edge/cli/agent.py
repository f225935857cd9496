"""`fogline agent enroll` and `fogline agent run`."""

import os
from pathlib import Path

from fogline import console, log
from fogline.addresses import parse_listen_address
from fogline.allocator import use_one_heap
from fogline.errors import InvalidInput
from fogline.records import load_config
from fogline.resident import settle
from fogline.signals import stop_signal

DEFAULT_ADDRESS = "127.0.0.1:8001"


def enroll(argv: list[str]) -> int:
    """Trades a token for this device's identity; harmless to repeat."""
    parser = console.parser(
        "fogline agent enroll",
        "Trade an enrolment token for this device's identity, kept in DIR.",
        "fogline agent enroll --data /var/lib/fogline --hub http://127.0.0.1:8750 "
        "--token fl1... --name station-1",
        "FOGLINE_TOKEN=fl1... fogline agent enroll --data agent --name station-1",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="agent's folder")
    parser.add_argument("--hub", metavar="URL", help="the hub's URL (default: FOGLINE_HUB)")
    parser.add_argument(
        "--token", metavar="T", help="as `fogline devices token` printed it (FOGLINE_TOKEN)"
    )
    parser.add_argument("--name", required=True, metavar="N", help="what people call the device")
    given = parser.parse_args(argv)
    url = given.hub or os.environ.get("FOGLINE_HUB", "")
    token = given.token or os.environ.get("FOGLINE_TOKEN", "")
    if not url or not token:
        missing = "--hub (or FOGLINE_HUB)" if not url else "--token (or FOGLINE_TOKEN)"
        raise InvalidInput(f"{missing} is missing; see: fogline agent enroll --help")
    from fogline_edge.install.enroll import enroll as enroll_device

    with console.step(f"enrolling with {url}"):
        identity = enroll_device(url, token, given.name, given.data)
    facts = {"device": identity.device, "group": identity.group, "name": identity.name}
    text = f"enrolled as device {identity.device} of group {identity.group}"
    console.emit(facts, text, as_json=given.json)
    return 0


def run(argv: list[str]) -> int:
    """Serves what the hub wants this device to run, until SIGTERM or SIGINT."""
    parser = console.parser(
        "fogline agent run",
        "Serve what the hub wants this device to run; what was installed serves without a network.",
        "fogline agent run --data /var/lib/fogline",
        "fogline agent run --data agent --grpc 127.0.0.1:0",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="agent's folder")
    parser.add_argument(
        "--grpc", default=DEFAULT_ADDRESS, metavar="H:P", help=f"where ({DEFAULT_ADDRESS})"
    )
    given = parser.parse_args(argv)
    log.configure()
    listen = parse_listen_address(given.grpc)
    use_one_heap()
    from fogline_edge.agent import Agent
    from fogline_edge.config import AgentConfig

    with stop_signal() as stop:
        agent = Agent(
            given.data, listen, config=load_config(given.data / "agent.toml", AgentConfig)
        )
        ready = agent.start()
        facts = {"grpc": str(ready.address), "device": ready.device, "models": ready.models}
        text = f"ready grpc={ready.address} device={ready.device} models={','.join(ready.models)}"
        console.emit(facts, text, as_json=given.json)
        settle()
        stop.wait()
        agent.stop()
    return 0
