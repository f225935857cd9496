"""`fogline hub init`, `fogline hub start`, `fogline status` and `fogline audit`."""

from pathlib import Path

import msgspec

from fogline import console, log
from fogline.clock import SystemClock
from fogline_hub.api.status import Status
from fogline_hub.audit import AuditRow
from fogline_hub.cli.operator import add_hub_arguments, open_hub
from fogline_hub.config import HubFolder


def init(argv: list[str]) -> int:
    from fogline_hub.hub import initialise

    parser = console.parser(
        "fogline hub init",
        "Make a new hub: keys, signed repository, catalogue and the first operator.",
        "fogline hub init --data hub/",
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="a new folder")
    arguments = parser.parse_args(argv)
    folder = HubFolder(arguments.data)
    made = initialise(folder, SystemClock())
    url = f"http://{folder.config().listen}"
    text = f"""made a hub in {folder.root}
  operator's token   {made.token_file}
  signing keys       {made.operator_folder}   (move them away from the hub and keep them)

next:
  fogline hub start --data {folder.root}
  export FOGLINE_HUB={url} FOGLINE_KEYS={made.operator_folder}
  export FOGLINE_TOKEN=$(cat {made.token_file})
  fogline status"""
    plain = {
        "data": str(folder.root),
        "token_file": str(made.token_file),
        "keys": str(made.operator_folder),
        "hub": url,
    }
    console.emit(plain, text, as_json=arguments.json)
    return 0


def start(argv: list[str]) -> int:
    from fogline_hub.hub import run

    parser = console.parser(
        "fogline hub start",
        "Run a whole hub on this machine: broker, signer, ingest and API, watched and restarted. "
        "Prints `ready api=URL mqtt=HOST:PORT` when all answer; SIGTERM or Ctrl-C ends it.",
        "fogline hub start --data hub/",
        "fogline hub start --data hub/ --listen 127.0.0.1:0 --mqtt 127.0.0.1:0",
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the hub's folder")
    parser.add_argument("--listen", metavar="H:P", help="where the API listens (default: hub.toml)")
    parser.add_argument("--mqtt", metavar="H:P", help="where the broker listens")
    arguments = parser.parse_args(argv)
    folder = HubFolder(arguments.data)
    folder.check()
    config = folder.config()
    config = msgspec.structs.replace(
        config, listen=arguments.listen or config.listen, mqtt=arguments.mqtt or config.mqtt
    )
    log.configure()

    def ready(api: str, mqtt: str) -> None:
        text = f"ready api={api} mqtt={mqtt}"
        console.emit({"api": api, "mqtt": mqtt}, text, as_json=arguments.json)

    run(folder, config, clock=SystemClock(), on_ready=ready)
    return 0


def status(argv: list[str]) -> int:
    parser = console.parser(
        "fogline status", "Show the hub's health and counts.", "fogline status --json"
    )
    add_hub_arguments(parser)
    arguments = parser.parse_args(argv)
    with open_hub(arguments) as client:
        found = client.get("/v1/status", Status)
    processes = [
        {"process": name, **{k: told.get(k) for k in ("state", "pid", "restarts")}}
        for name, told in found.processes.items()
    ]
    groups = ", ".join(f"{g}: {n}" for g, n in found.devices.items()) or "none"
    text = f"""hub {found.version} at {found.url}, MQTT at {found.mqtt}
models {found.models}, versions {found.versions}; devices {groups}; audit rows {found.audit_rows}
ingest since its start: messages {found.ingest.messages}, rows {found.ingest.rows}, \
quarantined {found.ingest.quarantined}, failed commits {found.ingest.failed_commits}
{console.table(processes, ("process", "state", "pid", "restarts"))}"""
    console.emit(found, text, as_json=arguments.json)
    return 0


def audit(argv: list[str]) -> int:
    parser = console.parser(
        "fogline audit",
        "List what was done, by whom, and when.",
        "fogline audit list --limit 20",
        "fogline audit list --after 120 --json",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list")
    listed = actions.add_parser("list", help="the newest rows, or those after a number")
    listed.add_argument("--after", type=int, metavar="N", help="rows above number N, oldest first")
    listed.add_argument("--limit", type=int, default=100, metavar="N", help="at most N, up to 1000")
    listed.add_argument("--json", action="store_true", help="print one line of JSON")
    add_hub_arguments(listed)
    arguments = parser.parse_args(argv)
    newest = arguments.after is None
    with open_hub(arguments) as client:
        found = client.get(
            "/v1/audit",
            tuple[AuditRow, ...],
            after=arguments.after or 0,
            limit=arguments.limit,
            newest=int(newest),
        )
    rows = [
        {
            "seq": r.seq,
            "at": r.at.isoformat(timespec="seconds"),
            "actor": r.actor,
            "action": r.action,
            "subject": r.subject,
        }
        for r in (reversed(found) if newest else found)
    ]
    text = console.table(rows, ("seq", "at", "actor", "action", "subject"))
    console.emit(found, text, as_json=arguments.json)
    return 0
