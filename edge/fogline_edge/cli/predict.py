"""`fogline predict`."""

import json
import sys
from pathlib import Path
from typing import Any

from fogline import console
from fogline.addresses import parse_address
from fogline.client import Client, Prediction, columns_of_rows
from fogline.errors import InvalidInput, NotFound
from fogline.ids import parse_ref
from fogline.records import MAX_JSON_BYTES
from fogline_edge.cli.serving import DEFAULT_ADDRESS


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
