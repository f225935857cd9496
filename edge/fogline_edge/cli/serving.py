"""`fogline serve` and `fogline predict`."""

import json
import sys
from pathlib import Path
from typing import Any

from fogline import console, log
from fogline.addresses import parse_address, parse_listen_address
from fogline.client import Client, Prediction, columns_of_rows
from fogline.errors import InvalidInput, NotFound
from fogline.ids import parse_ref
from fogline.records import MAX_JSON_BYTES, load_config
from fogline.signals import stop_signal

DEFAULT_ADDRESS = "127.0.0.1:8001"


def serve(argv: list[str]) -> int:
    """Serves one model until SIGTERM or SIGINT, then lets open calls end."""
    parser = console.parser(
        "fogline serve",
        "Serve one ONNX model, or a bundle's folder, over gRPC, with no hub. Prints one line "
        "`ready grpc=HOST:PORT` when it can answer.",
        "fogline serve model.onnx --name iris",
        "fogline serve model.onnx --name iris --grpc 127.0.0.1:0",
        "fogline serve bundle/ --variant int8-dynamic",
    )
    parser.add_argument("model", type=Path, help="the .onnx file, or the folder of a bundle")
    parser.add_argument("--name", default="", help="what clients call it (a bundle has a name)")
    parser.add_argument("--model-version", type=int, default=1, metavar="N", help="its number (1)")
    parser.add_argument("--variant", default="", help="which variant of a bundle (the preferred)")
    parser.add_argument(
        "--grpc", default=DEFAULT_ADDRESS, metavar="H:P", help=f"where ({DEFAULT_ADDRESS})"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads inside one run (1)"
    )
    parser.add_argument("--config", type=Path, help="bounds of the server, as TOML")
    return _serve(parser.parse_args(argv))


def _serve(given: Any) -> int:
    # Here, so that `fogline predict` does not load onnxruntime.
    from fogline.records import convert
    from fogline.runtime import ModelPlan, Watchdog
    from fogline.runtime.qualification import Budgets
    from fogline_edge.serving import Listener, Models, Server, ServingConfig
    from fogline_edge.serving.loading import load

    log.configure()
    listen = parse_listen_address(given.grpc)
    if given.config is not None and not given.config.is_file():
        raise NotFound(f"{given.config}: no such file")
    config = load_config(given.config, ServingConfig) if given.config else ServingConfig()
    if not 1 <= given.model_version < 2**31:
        raise InvalidInput(f"--model-version {given.model_version}: versions are numbers from 1")
    plan = convert({"threads": given.threads}, ModelPlan, "--threads")
    watchdog = Watchdog()
    budgets = Budgets(memory_bytes=config.load_memory_bytes, timeout_s=config.load_timeout_s)
    with console.step(f"proving {given.model} in a limited process"):
        served = load(
            given.model,
            name=given.name,
            version=given.model_version,
            variant=given.variant,
            plan=plan,
            watchdog=watchdog,
            budgets=budgets,
        )
    models = Models(max_models=config.residency.max_loaded)
    models.add(served)
    server = Server((Listener(address=listen),), models, config=config)
    (address,) = server.start()
    with stop_signal() as stop:
        console.emit({"grpc": str(address)}, f"ready grpc={address}", as_json=given.json)
        stop.wait()
        server.drain()
    watchdog.close()
    return 0


def predict(argv: list[str]) -> int:
    """Asks a served model and prints its outputs."""
    parser = console.parser(
        "fogline predict",
        "Ask a served model. The data is JSON: an object of inputs by name, or a list of rows as "
        "objects of values by name.",
        "echo '{\"x\": [[5.1, 3.5, 1.4, 0.2]]}' | fogline predict iris",
        "fogline predict iris@2 rows.json --grpc 127.0.0.1:8001 --json",
    )
    parser.add_argument("model", help="NAME or NAME@VERSION")
    parser.add_argument("data", nargs="?", default="-", help="a JSON file, or - for stdin (-)")
    parser.add_argument(
        "--grpc", default=DEFAULT_ADDRESS, metavar="H:P", help=f"where ({DEFAULT_ADDRESS})"
    )
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="an output wanted (all)"
    )
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait (30)"
    )
    given = parser.parse_args(argv)
    name, version = _model(given.model)
    inputs = _inputs(given.data)
    with Client(str(parse_address(given.grpc)), timeout_s=given.timeout) as client:
        prediction = client.predict(name, inputs, version=version, outputs=given.output)
    console.emit(_plain(prediction), _text(prediction), as_json=given.json)
    return 0


def _model(text: str) -> tuple[str, str]:
    if "@" not in text:
        return text, ""
    ref = parse_ref(text)
    if ref.version is None:
        raise InvalidInput(f"{text[:80]!r}: a device knows numbers, not aliases; write NAME@3")
    return ref.name, str(ref.version)


def _inputs(source: str) -> dict[str, Any]:
    where = "standard input" if source == "-" else source
    if source == "-":
        data = sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
    elif not Path(source).is_file():
        raise NotFound(f"{where}: no such file")
    else:
        with Path(source).open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInput(f"{where}: more than {MAX_JSON_BYTES} bytes of JSON")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise InvalidInput(f"{where}: not JSON: {e}") from e
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return dict(columns_of_rows(value))
    if isinstance(value, dict):
        return value
    raise InvalidInput(f"{where}: expected an object of inputs, or a list of rows as objects")


def _plain(prediction: Prediction) -> dict[str, Any]:
    return {
        "model": prediction.model,
        "version": prediction.version,
        "prediction_id": prediction.id,
        "outputs": {name: array.tolist() for name, array in prediction.outputs.items()},
    }


def _text(prediction: Prediction) -> str:
    rows = min((len(a) for a in prediction.outputs.values() if a.ndim), default=0)
    table = [
        {name: _cell(array[i]) for name, array in prediction.outputs.items() if array.ndim}
        for i in range(rows)
    ]
    scalars = [f"{n}  {_cell(a[()])}" for n, a in prediction.outputs.items() if not a.ndim]
    head = f"{prediction.model}@{prediction.version}"
    tail = [f"prediction id {prediction.id}"] if prediction.id else []
    body = [console.table(table, list(table[0]))] if table else []
    return "\n".join([head, *body, *scalars, *tail])


def _cell(value: Any) -> object:
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        return ", ".join(str(_cell(v)) for v in plain)
    return f"{plain:.6g}" if isinstance(plain, float) else plain
