"""`fogline push` and `fogline models`."""

import tempfile
from pathlib import Path

from fogline import console
from fogline.bundle import Bundle, read_bundle
from fogline.clock import SystemClock
from fogline.errors import Conflict, InvalidInput, NotFound
from fogline.ids import check_name, parse_ref
from fogline.records import load_config
from fogline_hub.api.models import ModelDetails
from fogline_hub.automation import Automation
from fogline_hub.cli.operator import add_hub_arguments, add_keys_argument, open_hub, open_keys
from fogline_hub.cli.pushing import MAX_SIGNINGS, push_bundle
from fogline_hub.client import HubClient
from fogline_hub.delivery import OperatorKeys, delegate_auto, withdraw_auto
from fogline_hub.registry import Model, Version
from fogline_hub.registry.registry import check_alias


def push(argv: list[str]) -> int:
    parser = console.parser(
        "fogline push",
        "Sign a bundle and make it the next version of a model. Pushing the same bundle again "
        "changes nothing. A bare ONNX file becomes a bundle that is marked as unverified. So does "
        "a pipeline's definition; its models are pushed by themselves.",
        "fogline push rain bundle/ --alias champion",
        "fogline push rain model.onnx --keys hub/operator",
        "fogline push ocr pipeline.toml",
    )
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument(
        "source", metavar="DIR|MODEL.onnx|PIPELINE.toml", type=Path, help="what to push"
    )
    parser.add_argument("--alias", default="", metavar="A", help="also point NAME@A at it")
    add_hub_arguments(parser)
    add_keys_argument(parser)
    arguments = parser.parse_args(argv)
    check_name(arguments.name, "model name")
    if arguments.alias:
        check_alias(arguments.alias)
    with open_hub(arguments) as client, tempfile.TemporaryDirectory() as scratch:
        keys = open_keys(arguments)
        bundle = _bundle(arguments.name, arguments.source, Path(scratch) / "bundle")
        with console.step(f"push {arguments.name} from {arguments.source}"):
            pushed = push_bundle(
                client,
                keys,
                arguments.name,
                bundle,
                clock=SystemClock(),
                alias=arguments.alias,
            )
    version = pushed.version
    text = f"{version.ref} {version.state.value}, {pushed.uploaded} files uploaded"
    if not version.verified:
        text += "; unverified: nothing says how its answers compare with the original model's"
    if pushed.alias:
        text += f"; {version.model}@{pushed.alias} now names it"
    console.emit(pushed, text, as_json=arguments.json)
    return 0


def models(argv: list[str]) -> int:
    parser = console.parser(
        "fogline models",
        "List and show models; let the hub sign retrained versions of one.",
        "fogline models list",
        "fogline models show rain",
        "fogline models show rain@champion --json",
        "fogline models automate rain --policy rain.toml --keys hub/operator",
        "fogline models automate rain --withdraw",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|automate")
    one = actions.add_parser("list", help="all models")
    shown = actions.add_parser("show", help="a model's versions and aliases, or one version")
    shown.add_argument("ref", metavar="NAME|NAME@V")
    automated = actions.add_parser(
        "automate", help="let the hub sign retrained versions (operator's signature)"
    )
    automated.add_argument("name", metavar="NAME")
    automated.add_argument(
        "--policy",
        type=Path,
        metavar="FILE.toml",
        help="also say how the hub watches, retrains and rolls out the model",
    )
    automated.add_argument("--withdraw", action="store_true", help="take that right back")
    add_keys_argument(automated)
    for each in (one, shown, automated):
        each.add_argument("--json", action="store_true", help="print one line of JSON")
        add_hub_arguments(each)
    arguments = parser.parse_args(argv)
    with open_hub(arguments) as client:
        if arguments.action == "list":
            _list(client, as_json=arguments.json)
        elif arguments.action == "show":
            _show(client, arguments.ref, as_json=arguments.json)
        else:
            _automate(
                client,
                open_keys(arguments),
                arguments.name,
                policy=_policy(arguments.policy, withdraw=arguments.withdraw),
                withdraw=arguments.withdraw,
                as_json=arguments.json,
            )
    return 0


def _list(client: HubClient, *, as_json: bool) -> None:
    found = client.get("/v1/models", tuple[Model, ...])
    rows = [
        {
            "model": m.name,
            "versions": m.versions,
            "aliases": ", ".join(f"{a}={n}" for a, n in sorted(m.aliases.items())) or "-",
            "created": m.created_at.isoformat(timespec="seconds"),
        }
        for m in found
    ]
    text = console.table(rows, ("model", "versions", "aliases", "created"))
    console.emit(found, text, as_json=as_json)


def _show(client: HubClient, ref: str, *, as_json: bool) -> None:
    if "@" in ref:
        parsed = parse_ref(ref)
        wanted = parsed.version if parsed.alias is None else parsed.alias
        version = client.get(f"/v1/models/{parsed.name}/versions/{wanted}", Version)
        console.emit(version, _versions_table([version]), as_json=as_json)
        return
    check_name(ref, "model name")
    details = client.get(f"/v1/models/{ref}", ModelDetails)
    aliases = ", ".join(f"{ref}@{a} is {n}" for a, n in sorted(details.model.aliases.items()))
    text = f"{_versions_table(list(details.versions))}\n{aliases or 'no aliases'}"
    console.emit(details, text, as_json=as_json)


def _versions_table(versions: list[Version]) -> str:
    rows = [
        {
            "version": str(v.ref),
            "state": v.state.value,
            "verified": "yes" if v.verified else "no",
            "size_bytes": v.size_bytes,
            "pushed by": v.pushed_by,
            "created": v.created_at.isoformat(timespec="seconds"),
            "manifest": v.manifest,
        }
        for v in versions
    ]
    columns = ("version", "state", "verified", "size_bytes", "pushed by", "created", "manifest")
    return console.table(rows, columns)


def _policy(file: Path | None, *, withdraw: bool) -> Automation | None:
    if file is None:
        return None
    if withdraw:
        raise InvalidInput("--withdraw takes a right back; it takes no --policy")
    if not file.is_file():
        raise NotFound(f"{file}: no such file; write the policy as TOML")
    return load_config(file, Automation)


def _automate(
    client: HubClient,
    keys: OperatorKeys,
    name: str,
    *,
    policy: Automation | None,
    withdraw: bool,
    as_json: bool,
) -> None:
    """Signs the delegation on top of the current metadata; again where others were quicker."""
    clock, change = SystemClock(), withdraw_auto if withdraw else delegate_auto
    for _ in range(MAX_SIGNINGS):
        signed = change(client.get_bytes("/v1/targets"), keys, name, now=clock.now())
        try:
            client.post("/v1/targets", signed, tuple[Version, ...])
        except Conflict:
            continue
        now_automated = client.get("/v1/automated", tuple[str, ...])
        text = f"the hub signs retrained versions of: {', '.join(now_automated) or 'no model'}"
        if policy is not None:
            client.put(f"/v1/models/{name}/automation", policy, Automation)
            text += f"; {name} is watched in windows of {policy.watch.window_s:g} s"
        answer: dict[str, object] = {"automated": now_automated}
        if policy is not None:
            answer["automation"] = policy
        console.emit(answer, text, as_json=as_json)
        return
    raise Conflict(f"other operators published {MAX_SIGNINGS} times in between; try again")


def _bundle(name: str, source: Path, scratch: Path) -> Bundle:
    if source.is_dir():
        return read_bundle(source)
    if not source.exists():
        raise NotFound(
            f"{source} is not there; push a bundle's folder, an ONNX file, or the definition of a "
            "pipeline"
        )
    from fogline_hub.cli.bare_model import bundle_of_onnx
    from fogline_hub.cli.bare_pipeline import bundle_of_pipeline

    pack = bundle_of_pipeline if source.suffix in (".toml", ".json") else bundle_of_onnx
    pack(source, scratch, name=name, created_at=SystemClock().now())
    return read_bundle(scratch)
