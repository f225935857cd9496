"""`fogline devices`."""

import re
from datetime import timedelta

from fogline import console
from fogline.errors import InvalidInput
from fogline_hub.api.devices import MadeToken, NewToken
from fogline_hub.cli.operator import add_hub_arguments, open_hub
from fogline_hub.client import HubClient
from fogline_hub.devices import Device, Token

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str) -> timedelta:
    """Reads `90s`, `30m`, `12h` or `7d`.

    Raises:
        InvalidInput: it is none of these.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if found is None:
        raise InvalidInput(f"{text[:40]!r} is no length of time; write 90s, 30m, 12h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def devices(argv: list[str]) -> int:
    parser = console.parser(
        "fogline devices",
        "Make tokens that let devices in; list, show and revoke devices.",
        "fogline devices token --group roof --uses 3 --expires 12h",
        "fogline devices list --group roof",
        "fogline devices show station-1",
        "fogline devices revoke station-1",
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="token|tokens|list|show|revoke"
    )
    token = actions.add_parser("token", help="make an enrolment token")
    token.add_argument("--group", required=True, metavar="G", help="group of its devices")
    token.add_argument("--uses", type=int, default=1, metavar="N", help="for N devices (1)")
    token.add_argument("--expires", default="1h", metavar="T", help="good for T: 30m, 12h, 7d (1h)")
    tokens = actions.add_parser("tokens", help="list tokens, without their secrets")
    listed = actions.add_parser("list", help="all devices")
    listed.add_argument("--group", metavar="G", help="of one group")
    shown = actions.add_parser("show", help="one device")
    revoked = actions.add_parser("revoke", help="end a device's rights, for ever")
    for each in (shown, revoked):
        each.add_argument("device", metavar="ID|NAME")
    for each in (token, tokens, listed, shown, revoked):
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
    arguments = parser.parse_args(argv)
    with open_hub(arguments) as client:
        match arguments.action:
            case "token":
                life_s = int(parse_duration(arguments.expires).total_seconds())
                _token(client, arguments.group, arguments.uses, life_s, as_json=arguments.json)
            case "tokens":
                _tokens(client, as_json=arguments.json)
            case "list":
                _devices(client, arguments.group, as_json=arguments.json)
            case "show":
                _show(client.get(f"/v1/devices/{arguments.device}", Device), arguments.json)
            case _:
                path = f"/v1/devices/{arguments.device}/revoke"
                _show(client.post(path, b"", Device), arguments.json)
    return 0


def _token(client: HubClient, group: str, uses: int, life_s: int, *, as_json: bool) -> None:
    asked = NewToken(group=group, uses=uses, expires_s=life_s)
    made = client.post("/v1/tokens", asked, MadeToken)
    console.emit(made, made.text, as_json=as_json)


def _tokens(client: HubClient, *, as_json: bool) -> None:
    found = client.get("/v1/tokens", tuple[Token, ...])
    rows = [
        {
            "id": t.id,
            "group": t.group,
            "uses left": f"{t.uses_left} of {t.uses}",
            "expires": t.expires_at.isoformat(timespec="seconds"),
            "created by": t.created_by,
        }
        for t in found
    ]
    columns = ("id", "group", "uses left", "expires", "created by")
    console.emit(found, console.table(rows, columns), as_json=as_json)


def _devices(client: HubClient, group: str | None, *, as_json: bool) -> None:
    query = {} if group is None else {"group": group}
    found = client.get("/v1/devices", tuple[Device, ...], **query)
    console.emit(found, _table(found), as_json=as_json)


def _show(device: Device, as_json: bool) -> None:
    console.emit(device, _table((device,)), as_json=as_json)


def _table(found: tuple[Device, ...]) -> str:
    rows = [
        {
            "id": d.id,
            "name": d.name,
            "group": d.group,
            "shard": d.shard,
            "enrolled": d.enrolled_at.isoformat(timespec="seconds"),
            "revoked": d.revoked_at.isoformat(timespec="seconds") if d.revoked_at else "-",
        }
        for d in found
    ]
    return console.table(rows, ("id", "name", "group", "shard", "enrolled", "revoked"))
