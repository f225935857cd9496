"""`fogline optimize`."""

from argparse import Namespace
from pathlib import Path

import msgspec

from fogline import console
from fogline.errors import InvalidInput, NotFound
from fogline.records import MAX_JSON_BYTES, decode_json
from fogline_hub.cli.optimize_text import optimization_text
from fogline_hub.cli.shares import read_share, read_time
from fogline_hub.optimize import (
    Earning,
    Observation,
    Optimization,
    OptimizationLimits,
    read_profile,
)
from fogline_hub.optimize import optimize as run_optimization
from fogline_hub.optimize.cache import default_folder
from fogline_hub.optimize.drawing import draw_front
from fogline_hub.optimize.observed import Observations
from fogline_hub.optimize.profile import HOST, profile_names


def optimize(argv: list[str]) -> int:
    """Exit code 0 where a variant fits the device, within the loss allowed; 1 where none does."""
    args = _arguments(argv)
    svg = Path(args.svg) if args.svg else None
    if svg is not None and not svg.parent.is_dir():
        raise NotFound(f"{svg.parent}: no such folder for the drawing")
    optimization = Optimization(
        bundle=Path(args.model),
        data=Path(args.data),
        target=args.target,
        sample=Path(args.sample) if args.sample else None,
        profile=read_profile(args.profile),
        earning=Earning(
            max_loss=read_share(args.max_loss),
            alpha=_alpha(args.alpha),
            accept_unproven=args.accept_unproven,
        ),
        limits=_limits(args),
        cache=Path(args.cache) if args.cache else default_folder(),
        out=Path(args.out) if args.out else None,
        observations=_observations(args.observed),
    )
    with console.progress(f"measuring variants of {optimization.bundle.name}") as progress:
        result = run_optimization(optimization, progress)
    if svg is not None:
        svg.write_text(draw_front(result))
    console.emit(result, optimization_text(result), as_json=args.json)
    return 0 if result.choice.name else 1


def _arguments(argv: list[str]) -> Namespace:
    parser = console.parser(
        "fogline optimize",
        "Measures smaller variants of a model, adds those that earn their place to its bundle,\n"
        "and chooses one for a device. Exit code 1: nothing fits the device.",
        "fogline optimize rain-bundle --data test.parquet --target rain",
        "fogline optimize rain-bundle --profile pi-zero-2w --data test.csv --target rain "
        "--max-loss 0.5%",
        "fogline optimize model.onnx --data rows.npz --out variants --svg front.svg --json",
    )
    parser.add_argument(
        "model", help="folder of an unsigned bundle, which is replaced, or an .onnx file"
    )
    parser.add_argument(
        "--profile",
        default=HOST,
        help=f"the device: {', '.join(profile_names())}, or a .toml file (%(default)s)",
    )
    parser.add_argument("--data", required=True, help="rows not trained on: Parquet, CSV or npz")
    parser.add_argument("--target", metavar="COLUMN", help="column with the actual outcome")
    parser.add_argument(
        "--sample",
        metavar="DATA",
        help="rows to tune with; by default the bundle's own, else every fifth of --data",
    )
    parser.add_argument(
        "--max-loss",
        default="0.5%",
        help="quality that a variant may lose, and share of labels that may change (%(default)s)",
    )
    parser.add_argument(
        "--alpha",
        default="5%",
        help="error rate of choosing any variant that loses more (%(default)s)",
    )
    parser.add_argument(
        "--accept-unproven",
        action="store_true",
        help="choose by what was seen, also where the rows are too few to prove it",
    )
    parser.add_argument("--budget", default="10m", help="time for the search (%(default)s)")
    parser.add_argument("--cache", metavar="DIR", help="folder of finished parts, to go on from")
    parser.add_argument("--out", metavar="DIR", help="folder for kept variants of an .onnx file")
    parser.add_argument("--svg", metavar="FILE", help="drawing of the Pareto front")
    parser.add_argument(
        "--observed", metavar="FILE", help="JSON of what live devices measured; it decides"
    )
    return parser.parse_args(argv)


def _limits(args: Namespace) -> OptimizationLimits:
    budget_s = read_time(args.budget)
    limits = OptimizationLimits()
    child = msgspec.structs.replace(limits.child, cpu_s=int(4 * budget_s) + 60, timeout_s=budget_s)
    return msgspec.structs.replace(limits, budget_s=budget_s, child=child)


def _alpha(text: str) -> float:
    share = read_share(text)
    if not 0 < share <= 0.5:
        raise InvalidInput(f"{text[:40]!r} is no error rate: write more than 0 and at most 50%")
    return share


def _observations(text: str | None) -> tuple[Observation, ...]:
    if not text:
        return ()
    path = Path(text)
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    with path.open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    found: tuple[Observation, ...] = decode_json(data, Observations, path.name)
    return found
