"""`fogline samples`, `fogline drift list|show` and `fogline retrain`."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fogline import console
from fogline.errors import InvalidInput
from fogline.ids import check_name, parse_ref
from fogline.records import Record
from fogline_hub.api.samples import SampleCount
from fogline_hub.api.verdicts import ModelAlarms
from fogline_hub.cli.operator import add_hub_arguments, open_hub
from fogline_hub.client import HubClient
from fogline_hub.monitor import WindowReport
from fogline_hub.monitor.alarms import Alarm
from fogline_hub.registry import Model, Version
from fogline_hub.retrain import Retraining

MAX_WINDOWS = 1000


class DriftDetails(Record, frozen=True, kw_only=True):
    """What `fogline drift show` answers."""

    alarms: ModelAlarms
    verdicts: tuple[WindowReport, ...]


def samples(argv: list[str]) -> int:
    parser = console.parser(
        "fogline samples",
        "Count and export the rows that devices captured, with what became true of them. "
        "Exports are audited.",
        "fogline samples list rain",
        "fogline samples export rain --out rain.parquet --labelled",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|export")
    listed = actions.add_parser("list", help="rows by version and device")
    export = actions.add_parser("export", help="rows as a Parquet file")
    export.add_argument("--out", type=Path, required=True, metavar="F.parquet", help="new file")
    export.add_argument("--labelled", action="store_true", help="only rows with a known outcome")
    for each in (listed, export):
        each.add_argument("name", metavar="NAME", help="the model")
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
    given = parser.parse_args(argv)
    check_name(given.name, "model name")
    with open_hub(given) as client:
        if given.action == "list":
            _count(client, given.name, as_json=given.json)
        else:
            _export(client, given.name, given.out, labelled=given.labelled, as_json=given.json)
    return 0


def _count(client: HubClient, name: str, *, as_json: bool) -> None:
    found = client.get(f"/v1/models/{name}/samples", tuple[SampleCount, ...])
    rows = [
        {
            "version": f"{name}@{c.version}",
            "device": c.device,
            "rows": c.rows,
            "labelled": c.labelled,
            "of traffic": round(c.traffic),
            "from": _day(c.first_us),
            "to": _day(c.last_us),
        }
        for c in found
    ]
    columns = ("version", "device", "rows", "labelled", "of traffic", "from", "to")
    console.emit(found, console.table(rows, columns), as_json=as_json)


def _export(client: HubClient, name: str, out: Path, *, labelled: bool, as_json: bool) -> None:
    path = f"/v1/models/{name}/samples/export?labelled={int(labelled)}"
    with console.step(f"export samples of {name}"):
        data = client.get_bytes(path)
        try:
            # Raw data of users: readable by this user alone, and never over another file.
            handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as e:
            raise InvalidInput(f"{out} cannot be made: {e.strerror}; name a new file") from e
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    text = f"{out}: {len(data)} bytes"
    console.emit({"file": str(out), "size_bytes": len(data)}, text, as_json=as_json)


def drift(argv: list[str]) -> int:
    parser = console.parser(
        "fogline drift",
        "Verdicts on closed windows of a model's traffic, and the alarms that its accuracy raised. "
        "To compare two files without a hub: fogline drift compare.",
        "fogline drift list",
        "fogline drift list rain",
        "fogline drift show rain@2 --json",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|compare")
    listed = actions.add_parser("list", help="one line a window")
    listed.add_argument("name", nargs="?", metavar="NAME", help="of one model")
    shown = actions.add_parser("show", help="alarms, and the newest window column by column")
    shown.add_argument("ref", metavar="NAME|NAME@V", help="a model, or one version of it")
    for each in (listed, shown):
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
    given = parser.parse_args(argv)
    with open_hub(given) as client:
        if given.action == "list":
            _verdicts(client, given.name, as_json=given.json)
        else:
            _drift(client, given.ref, as_json=given.json)
    return 0


def _verdicts(client: HubClient, name: str | None, *, as_json: bool) -> None:
    if name is None:
        names = [m.name for m in client.get("/v1/models", tuple[Model, ...])]
    else:
        names = [check_name(name, "model name")]
    reports = [r for each in names for r in _reports(client, each, 0)]
    console.emit(reports, _windows_table(reports), as_json=as_json)


def _reports(client: HubClient, name: str, version: int) -> tuple[WindowReport, ...]:
    path = f"/v1/models/{name}/verdicts"
    return client.get(path, tuple[WindowReport, ...], version=version, limit=MAX_WINDOWS)


def _windows_table(reports: list[WindowReport]) -> str:
    rows = [
        {
            "version": f"{r.model}@{r.version}",
            "from": _day(r.start_us),
            "to": _day(r.end_us),
            "rows": r.rows,
            "input": r.aspect("input").verdict,
            "output": r.aspect("output").verdict,
            "accuracy": r.aspect("accuracy").verdict,
            "right": None if r.accuracy is None else f"{r.accuracy:.1%}",
        }
        for r in reports
    ]
    columns = ("version", "from", "to", "rows", "input", "output", "accuracy", "right")
    return console.table(rows, columns)


def _drift(client: HubClient, ref: str, *, as_json: bool) -> None:
    name, version = check_name(ref, "model name") if "@" not in ref else "", 0
    if not name:
        parsed = parse_ref(ref)
        wanted = parsed.version if parsed.alias is None else parsed.alias
        name = parsed.name
        version = client.get(f"/v1/models/{name}/versions/{wanted}", Version).number
    found = client.get(f"/v1/models/{name}/alarms", ModelAlarms)
    if version:
        found = ModelAlarms(
            model=name,
            watermark_us=found.watermark_us,
            alarms=tuple(a for a in found.alarms if a.version == version),
            versions=tuple(v for v in found.versions if v.version == version),
        )
    details = DriftDetails(alarms=found, verdicts=_reports(client, name, version))
    console.emit(details, _drift_text(details), as_json=as_json)


def _drift_text(details: DriftDetails) -> str:
    told = details.alarms
    lines = [_alarm_text(a) for a in told.alarms] or ["no alarm"]
    for v in told.versions:
        how = v.why_not or f"evidence {v.e_value:.3g} of {v.threshold:.3g}; {v.guarantee}"
        late = f"; late: {v.late_labelled} outcomes, {v.late_rows} rows" if v.late_rows else ""
        lines.append(f"{told.model}@{v.version}: {how}{late}")
    if not details.verdicts:
        return "\n".join([*lines, "no window has closed yet"])
    newest = details.verdicts[-1]
    columns = [
        {
            "aspect": a.aspect,
            "column": c.name,
            "verdict": c.verdict,
            "moved": f"{c.effect:.1%}",
            "at most": f"{c.high:.1%}",
            "p": c.p_adjusted,
        }
        for a in newest.aspects
        for c in a.columns
    ]
    lines.append(_windows_table(list(details.verdicts)))
    lines += [f"{a.aspect}: {a.verdict}: {a.why}" for a in newest.aspects]
    lines.append(console.table(columns, ("aspect", "column", "verdict", "moved", "at most", "p")))
    return "\n".join(lines)


def _alarm_text(alarm: Alarm) -> str:
    evidence = alarm.evidence
    text = (
        f"alarm {alarm.id}: accuracy of {alarm.model}@{alarm.version} fell about "
        f"{_day(alarm.change_us)}: {evidence.errors} of {evidence.rows} outcomes wrong since, "
        f"evidence {evidence.e_value:.3g} of {evidence.threshold:.3g}"
    )
    return text + (f"; resolved: {alarm.resolution}" if alarm.resolved_at else "; open")


def retrain(argv: list[str]) -> int:
    parser = console.parser(
        "fogline retrain",
        "List and show retrainings; start one without an alarm.",
        "fogline retrain list",
        "fogline retrain show 3 --json",
        "fogline retrain start rain",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|start")
    listed = actions.add_parser("list", help="the newest first")
    listed.add_argument("--model", metavar="NAME", help="of one model")
    shown = actions.add_parser("show", help="one, with its data and judgement")
    shown.add_argument("id", type=int, metavar="ID")
    started = actions.add_parser("start", help="retrain on the policy's history, without an alarm")
    started.add_argument("name", metavar="NAME")
    for each in (listed, shown, started):
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
    given = parser.parse_args(argv)
    with open_hub(given) as client:
        match given.action:
            case "list":
                query = {} if given.model is None else {"model": given.model}
                found = client.get("/v1/retrainings", tuple[Retraining, ...], **query)
                console.emit(found, _retrainings_table(found), as_json=given.json)
            case "show":
                one = client.get(f"/v1/retrainings/{given.id}", Retraining)
                console.emit(one, _retraining_text(one), as_json=given.json)
            case _:
                name = check_name(given.name, "model name")
                one = client.post(f"/v1/models/{name}/retrainings", b"", Retraining)
                console.emit(one, _retraining_text(one), as_json=given.json)
    return 0


def _retrainings_table(found: tuple[Retraining, ...]) -> str:
    rows = [
        {
            "id": r.id,
            "model": r.model,
            "champion": r.champion,
            "challenger": r.challenger,
            "state": r.state.value,
            "asked by": r.asked_by,
            "reason": r.reason,
        }
        for r in found
    ]
    columns = ("id", "model", "champion", "challenger", "state", "asked by", "reason")
    return console.table(rows, columns)


def _retraining_text(one: Retraining) -> str:
    lines = [_retrainings_table((one,))]
    if (data := one.dataset) is not None:
        lines.append(
            f"trained on {data.train_rows} rows from {_day(data.since_us)}, "
            f"judged on {data.holdout_rows} from {_day(data.holdout_us)} to {_day(data.until_us)}"
        )
    if (judged := one.judgement) is not None:
        gain = judged.over_champion
        lines.append(
            f"right: challenger {judged.accuracy_challenger:.1%}, champion "
            f"{judged.accuracy_champion:.1%}, constant {judged.accuracy_constant:.1%}; gain "
            f"{gain.estimate:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}): {judged.reason}"
        )
    return "\n".join(lines)


def _day(unix_us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_us)
    return moment.date().isoformat()
