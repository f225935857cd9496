"""`fogline deploy` and `fogline rollout`."""

import argparse
import time

from fogline import console
from fogline.desired import CapturePolicy
from fogline.errors import DeadlineExceeded, InvalidInput
from fogline.ids import parse_ref
from fogline.records import convert
from fogline_hub.api.rollouts import NewRollout, RolloutDetails
from fogline_hub.cli.operator import add_hub_arguments, open_hub
from fogline_hub.client import HubClient
from fogline_hub.rollouts import Plan, Rollout, State, parse_waves
from fogline_hub.rollouts.states import ENDED

POLL_S = 0.3


def deploy(argv: list[str]) -> int:
    """Starts a rollout; with `--wait` the exit code says whether it succeeded."""
    parser = console.parser(
        "fogline deploy",
        "Move a group of devices to a version, in waves that stop themselves.",
        "fogline deploy rain@3 --group roof",
        "fogline deploy rain@champion --group roof --waves 1,25%,100% --wait",
        "fogline deploy rain@3 --group roof --capture sample_rate=0.2 --capture window_s=3600",
    )
    parser.add_argument("version", help="NAME@VERSION or NAME@ALIAS")
    parser.add_argument("--group", required=True, metavar="G", help="whose devices")
    parser.add_argument(
        "--waves",
        default="1,100%",
        metavar="W",
        help="how many have moved by the end of each wave: counts or percentages (1,100%%)",
    )
    parser.add_argument(
        "--capture",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"what comes home: {', '.join(CapturePolicy.__struct_fields__)}",
    )
    parser.add_argument(
        "--wave", action="append", default=[], metavar="KEY=VALUE", help="bounds of each wave"
    )
    parser.add_argument("--wait", action="store_true", help="until it has ended; 1 if it failed")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="of --wait")
    add_hub_arguments(parser)
    given = parser.parse_args(argv)
    parse_ref(given.version)
    _check_timeout(given.timeout)
    plan = convert(
        {
            "group": given.group,
            "waves": list(parse_waves(given.waves)),
            "policy": _settings(given.wave, "--wave"),
            "capture": _settings(given.capture, "--capture"),
        },
        Plan,
        "deploy",
    )
    with open_hub(given) as client:
        made = client.post("/v1/rollouts", NewRollout(version=given.version, plan=plan), Rollout)
        if not given.wait:
            text = f"rollout {made.id} of {made.model}@{made.number} to {made.group} has started"
            console.emit(made, text, as_json=given.json)
            return 0
        return _follow(client, made.id, given.timeout, as_json=given.json)


def rollout(argv: list[str]) -> int:
    """Lists, shows, watches and steers rollouts."""
    parser = console.parser(
        "fogline rollout",
        "List, show, watch, pause, resume or abort rollouts.",
        "fogline rollout list",
        "fogline rollout watch 7",
        "fogline rollout abort 7",
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|show|watch|pause|resume|abort"
    )
    actions_with_id = ("show", "watch", "pause", "resume", "abort")
    made = {name: actions.add_parser(name) for name in ("list", *actions_with_id)}
    for name, each in made.items():
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
        if name != "list":
            each.add_argument("id", type=int, metavar="ID")
    made["watch"].add_argument("--timeout", type=float, default=3600.0, metavar="S")
    given = parser.parse_args(argv)
    if given.action == "watch":
        _check_timeout(given.timeout)
    with open_hub(given) as client:
        return _act(client, given)


def _act(client: HubClient, given: argparse.Namespace) -> int:
    match given.action:
        case "list":
            found = client.get("/v1/rollouts", tuple[Rollout, ...])
            console.emit(
                found, console.table([_row(r) for r in found], _COLUMNS), as_json=given.json
            )
        case "show":
            details = client.get(f"/v1/rollouts/{given.id}", RolloutDetails)
            console.emit(details, _text(details), as_json=given.json)
        case "watch":
            return _follow(client, given.id, given.timeout, as_json=given.json)
        case _:
            steered = client.post(f"/v1/rollouts/{given.id}/{given.action}", b"", Rollout)
            console.emit(steered, console.table([_row(steered)], _COLUMNS), as_json=given.json)
    return 0


def _follow(client: HubClient, number: int, timeout_s: float, *, as_json: bool) -> int:
    """Says each change on stderr until the rollout has ended; 0 only if it succeeded."""
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        details = client.get(f"/v1/rollouts/{number}", RolloutDetails)
        line = _line(details)
        if line != said:
            console.say(console.printable(line))
            said = line
        if details.rollout.state in ENDED:
            console.emit(details, _text(details), as_json=as_json)
            return 0 if details.rollout.state is State.SUCCEEDED else 1
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"rollout {number} is still {details.rollout.state.value} after {timeout_s:g} s; "
                f"it goes on: fogline rollout watch {number}"
            )
        time.sleep(POLL_S)


def _check_timeout(timeout_s: float) -> None:
    """Not a number would be waited for without an end."""
    if not timeout_s > 0:
        raise InvalidInput(f"--timeout {timeout_s:g}: give seconds above 0, or inf")


def _line(details: RolloutDetails) -> str:
    r = details.rollout
    active = sum(d.outcome == "active" for d in details.devices)
    wave = f"wave {r.wave + 1} of {len(r.waves)}"
    tail = f": {r.reason}" if r.reason else ""
    return f"rollout {r.id} {r.state.value}, {wave}, {active}/{len(details.devices)} active{tail}"


_COLUMNS = ("id", "version", "group", "waves", "state", "reason")


def _row(r: Rollout) -> dict[str, object]:
    return {
        "id": r.id,
        "version": f"{r.model}@{r.number}",
        "group": r.group,
        "waves": ",".join(r.waves),
        "state": r.state.value,
        "reason": r.reason or "-",
    }


def _text(details: RolloutDetails) -> str:
    rows = [
        {"device": d.device, "wave": d.wave + 1, "outcome": d.outcome, "reason": d.reason or "-"}
        for d in details.devices
    ]
    head = console.table([_row(details.rollout)], _COLUMNS)
    return f"{head}\n\n{console.table(rows, ('device', 'wave', 'outcome', 'reason'))}"


def _settings(pairs: list[str], flag: str) -> dict[str, object]:
    """`KEY=VALUE` pairs; what reads as a number is one."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{flag} {pair[:80]!r}: write KEY=VALUE")
        found[key] = _value(value)
    return found


def _value(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
