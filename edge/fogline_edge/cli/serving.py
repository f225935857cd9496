"""`fogline serve`."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fogline import console, log
from fogline.addresses import parse_address, parse_listen_address
from fogline.allocator import use_one_heap
from fogline.errors import InvalidInput, NotFound
from fogline.records import load_config
from fogline.resident import settle
from fogline.runtime.spare import Spare
from fogline.signals import stop_signal

if TYPE_CHECKING:
    from fogline_edge.serving import Listener, ServingConfig
    from fogline_edge.standalone import Offer, Ready

DEFAULT_ADDRESS = "127.0.0.1:8001"

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def serve(argv: list[str]) -> int:
    """Serves what a path holds until SIGTERM or SIGINT, then lets open calls end."""
    parser = console.parser(
        "fogline serve",
        "Serve a model, a bundle, a pipeline, or a Triton-style repository of models over gRPC, "
        "with no hub. Prints one line `ready grpc=HOST:PORT` when it can answer.",
        "fogline serve model.onnx --name iris",
        "fogline serve model.onnx --name iris --grpc 127.0.0.1:0 --metrics 127.0.0.1:8002",
        "fogline serve bundle/ --variant int8-dynamic",
        "fogline serve pipeline.toml --unix /run/fogline.sock",
        "fogline serve models/ --model-memory 512M",
        "fogline serve models/ --model-control explicit --load-model iris --tokens tokens.toml",
        "fogline serve models/ --grpc 10.0.0.5:8001 --tls-cert c.pem --tls-key k.pem "
        "--tls-client-ca ca.pem",
    )
    parser.add_argument(
        "model",
        type=Path,
        help="a .onnx file; a bundle's folder; a pipeline's .toml or folder; or a folder of models "
        "as NAME/config.pbtxt (optional) and NAME/1/model.onnx",
    )
    _add_model(parser.add_argument_group("a single model"))
    _add_listening(parser.add_argument_group("where"))
    _add_repository(parser.add_argument_group("a repository"))
    parser.add_argument(
        "--model-memory",
        metavar="SIZE",
        help="what all models together may hold, as 512M; the least used leave memory (no bound)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads inside one run (1)"
    )
    parser.add_argument(
        "--plans",
        type=Path,
        metavar="DIR",
        help="keep here what proofs found, so that the same files start faster (keep nothing)",
    )
    parser.add_argument("--config", type=Path, help="bounds of the server, as TOML")
    return _serve(parser.parse_args(argv))


def _add_model(group: Any) -> None:
    group.add_argument("--name", default="", help="what clients call it (its own name)")
    group.add_argument("--model-version", type=int, default=1, metavar="N", help="its number (1)")
    group.add_argument("--variant", default="", help="which variant of a bundle (the preferred)")


def _add_listening(group: Any) -> None:
    group.add_argument(
        "--grpc",
        action="append",
        metavar="H:P",
        help=f"an address, as often as wanted ({DEFAULT_ADDRESS}, or none with --unix)",
    )
    group.add_argument(
        "--unix", action="append", type=Path, metavar="PATH", help="a Unix socket, likewise"
    )
    group.add_argument("--tls-cert", type=Path, metavar="PEM", help="speak TLS on the addresses")
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="the certificate's key")
    group.add_argument(
        "--tls-client-ca", type=Path, metavar="PEM", help="who signs the clients' certificates"
    )
    group.add_argument(
        "--front", choices=("http2", "grpcio"), help="what listens (http2, on an event loop)"
    )
    group.add_argument("--metrics", metavar="H:P", help="where Prometheus asks for /metrics (none)")
    group.add_argument(
        "--tokens",
        type=Path,
        metavar="TOML",
        help="file of the applications' tokens, mode 0600: who may load models over TCP",
    )
    group.add_argument("--require-token", action="store_true", help="ask inference too for a token")


def _add_repository(group: Any) -> None:
    group.add_argument(
        "--model-control",
        "--model-control-mode",  # Triton's word
        choices=("none", "explicit"),
        default="none",
        help="explicit: callers load and unload models (none: all are loaded at the start)",
    )
    group.add_argument(
        "--load-model",
        action="append",
        default=[],
        metavar="NAME",
        help="with explicit: one to load at the start; * for all (none)",
    )
    group.add_argument(
        "--strict", action="store_true", help="fail if any model cannot be served (serve the rest)"
    )


def _serve(given: Any) -> int:
    if not given.model.exists():
        raise NotFound(f"{given.model}: no such file")
    log.configure()
    use_one_heap()
    # Starts while this process imports what it needs itself; with kept plans, likely for nothing.
    with nullcontext() if given.plans else Spare() as spare:
        return _run(given, spare)


def _run(given: Any, spare: Spare | None) -> int:
    from fogline_edge.standalone import Standalone

    offer = _offer(given)
    listeners = _listeners(given)
    metrics = parse_listen_address(given.metrics) if given.metrics else None
    config = _config(given)
    if offer.control == "explicit" and not (given.unix or config.access.tokens):
        console.say("over TCP nobody can load models without --tokens; --unix is another way")
    server = Standalone(offer, listeners, config, metrics=metrics, spare=spare)
    try:
        with console.step(f"proving {given.model} in a limited process"):
            faults = server.load()
        if spare is not None:
            spare.close()
        for name, fault in faults.items():
            console.say(console.printable(f"model {name} is not served: {fault}"))
        if faults and given.strict:
            raise next(iter(faults.values()))
        with stop_signal() as stop:
            _say_ready(server.start(), as_json=given.json)
            settle()
            stop.wait()
    finally:
        server.stop()
    return 0


def _say_ready(ready: "Ready", *, as_json: bool) -> None:
    grpc = ",".join(map(str, ready.endpoints))
    said = {"grpc": grpc} | ({"metrics": str(ready.metrics)} if ready.metrics else {})
    text = " ".join(f"{key}={value}" for key, value in said.items())
    console.emit({**said, "models": ready.models}, f"ready {text}", as_json=as_json)


def _offer(given: Any) -> "Offer":
    from fogline.records import convert
    from fogline.runtime import ModelPlan
    from fogline_edge.standalone import Offer

    if not 1 <= given.model_version < 2**31:
        raise InvalidInput(f"--model-version {given.model_version}: versions are numbers from 1")
    return Offer(
        path=given.model,
        name=given.name,
        version=given.model_version,
        variant=given.variant,
        plan=convert({"threads": given.threads}, ModelPlan, "--threads"),
        plans=given.plans,
        control=given.model_control,
        load=tuple(given.load_model),
    )


def _listeners(given: Any) -> "tuple[Listener, ...]":
    """Every address, with TLS where it was asked for, and every Unix socket."""
    from fogline_edge.serving import Listener, Tls

    if bool(given.tls_cert) != bool(given.tls_key) or (given.tls_client_ca and not given.tls_cert):
        raise InvalidInput("--tls-cert and --tls-key come together, and --tls-client-ca with them")
    tls = None
    if given.tls_cert:
        tls = Tls(certificate=given.tls_cert, key=given.tls_key, clients=given.tls_client_ca)
    addresses = given.grpc or ([] if given.unix else [DEFAULT_ADDRESS])
    return (
        *(Listener(address=parse_address(text), tls=tls) for text in addresses),
        *(Listener(address=path) for path in given.unix or ()),
    )


def _config(given: Any) -> "ServingConfig":
    """The file's bounds, under what the options say."""
    from msgspec.structs import replace

    from fogline_edge.serving import ServingConfig

    if given.config is not None and not given.config.is_file():
        raise NotFound(f"{given.config}: no such file")
    config = load_config(given.config, ServingConfig) if given.config else ServingConfig()
    front, access, residency = config.front, config.access, config.residency
    if given.front:
        front = replace(front, kind=given.front)
    if given.tokens:
        access = replace(access, tokens=str(given.tokens))
    if given.require_token:
        access = replace(access, require_token_for_infer=True)
    if given.model_memory:
        residency = replace(residency, model_memory_bytes=_size(given.model_memory))
    return replace(config, front=front, access=access, residency=residency)


def _size(text: str) -> int:
    """Bytes of `1048576`, `1024K`, `512M` or `2G`."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    if not (number.isascii() and number.isdigit() and len(number) <= 12) or not int(number):
        raise InvalidInput(f"--model-memory {text[:80]!r} is no size; write one as 512M")
    return int(number) * _UNITS[unit]
