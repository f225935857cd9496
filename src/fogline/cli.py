"""The one command, `fogline`: finds the function behind the words and maps errors to exit codes.

Each command is a function `main(argv: list[str]) -> int` in the room that it belongs to, named here
by text and imported only when called, so that this module needs neither side of Fogline installed.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from fogline import __version__, console, errors


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives, what it is for, and the extra that installs what it needs."""

    target: str
    help: str
    extra: str


COMMANDS: dict[str, Command] = {
    "serve": Command(
        "fogline_edge.cli.serving:serve", "serve models over gRPC, with no hub", "edge"
    ),
    "predict": Command(
        "fogline_edge.cli.predict:predict", "ask a served model for predictions", "edge"
    ),
    "pipeline check": Command(
        "fogline_edge.cli.pipelines:check", "check the definition of a pipeline", "edge"
    ),
    "pipeline convert": Command(
        "fogline_edge.cli.pipelines:convert", "turn a Triton ensemble into a pipeline", "edge"
    ),
    "agent enroll": Command(
        "fogline_edge.cli.agent:enroll", "trade a token for this device's identity", "edge"
    ),
    "agent run": Command(
        "fogline_edge.cli.agent:run", "serve what the hub wants this device to run", "edge"
    ),
    "convert": Command(
        "fogline_hub.cli.convert:convert", "convert a trained model to a bundle", "sklearn"
    ),
    "optimize": Command(
        "fogline_hub.cli.optimize:optimize", "measure smaller variants of a model", "sklearn"
    ),
    "inspect": Command(
        "fogline_hub.cli.convert:inspect", "show what a bundle or model holds", "hub"
    ),
    "push": Command("fogline_hub.cli.models:push", "sign a bundle and push it to the hub", "hub"),
    "models": Command(
        "fogline_hub.cli.models:models", "list and show models; let the hub retrain one", "hub"
    ),
    "hub init": Command(
        "fogline_hub.cli.hub:init", "make a new hub: keys, catalogue, first token", "hub"
    ),
    "hub start": Command("fogline_hub.cli.hub:start", "run a whole hub on this machine", "hub"),
    "status": Command("fogline_hub.cli.hub:status", "show the hub's health and counts", "hub"),
    "devices": Command(
        "fogline_hub.cli.fleet:devices", "make tokens; list and show devices", "hub"
    ),
    "deploy": Command(
        "fogline_hub.cli.rollouts:deploy", "move a group of devices to a version", "hub"
    ),
    "rollout": Command(
        "fogline_hub.cli.rollouts:rollout", "list, show, watch and steer rollouts", "hub"
    ),
    "samples": Command(
        "fogline_hub.cli.monitor:samples", "list and export what devices captured", "hub"
    ),
    "drift compare": Command(
        "fogline_hub.cli.drift:compare", "compare two files, with no hub", "monitor"
    ),
    "drift": Command(
        "fogline_hub.cli.monitor:drift", "list and show the verdicts on a model", "hub"
    ),
    "retrain": Command(
        "fogline_hub.cli.monitor:retrain", "list, show and start retrainings", "hub"
    ),
    "audit": Command("fogline_hub.cli.hub:audit", "list what was done, by whom, and when", "hub"),
}

EXIT_CODES: dict[type[Exception], int] = {
    errors.Forbidden: 4,
    errors.NotFound: 3,
    errors.Unsupported: 2,
    errors.InvalidInput: 2,
    errors.DeadlineExceeded: 6,
    errors.Unavailable: 5,
    errors.Untrusted: 8,
    errors.Corrupt: 7,
    errors.Conflict: 9,
    errors.Exhausted: 10,
    errors.FoglineError: 1,
}
"""Exit code of each error; the first row that an error is an instance of decides.

0 is success and 1 a completed command whose answer is no (a failed rollout, a refused variant).
"""

USAGE = """usage: fogline COMMAND [ARGUMENTS]

{commands}

  fogline COMMAND --help    what a command takes, with examples
  fogline --version

exit codes: 0 done, 1 the answer is no, 2 invalid input, 3 not found, 4 no right to it,
5 unavailable, 6 too late, 7 corrupt, 8 untrusted, 9 conflict, 10 a bound was reached,
130 interrupted
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words in (["--version"], ["-V"]):
        console.emit(__version__, f"fogline {__version__}", as_json=False)
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        console.emit(None, _usage(), as_json=False)
        return 0
    name = next((n for n in _longest_first() if words[: len(n.split())] == n.split()), None)
    if name is None:
        return _unknown(words)
    try:
        return _load(name)(words[len(name.split()) :])
    except errors.FoglineError as e:
        console.say(f"fogline {name}: {console.printable(str(e))}")
        return exit_code(e)
    except KeyboardInterrupt:
        console.say(f"fogline {name}: interrupted")
        return 130
    except BrokenPipeError:
        return 141


def exit_code(error: errors.FoglineError) -> int:
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def _longest_first() -> list[str]:
    return sorted(COMMANDS, key=lambda n: -len(n.split()))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    return USAGE.format(
        commands="\n".join(f"  {n:<{width}}  {c.help}" for n, c in COMMANDS.items())
    )


def _unknown(words: list[str]) -> int:
    group = [n for n in COMMANDS if n.split()[0] == words[0]]
    known = ", ".join(group or dict.fromkeys(n.split()[0] for n in COMMANDS))
    console.say(
        f"fogline: no command {console.printable(' '.join(words[:2]))!r}; there are: {known}"
    )
    return 2


def _load(name: str) -> Callable[[list[str]], int]:
    command = COMMANDS[name]
    module, _, function = command.target.partition(":")
    try:
        loaded: Callable[[list[str]], int] = getattr(importlib.import_module(module), function)
        return loaded
    except ModuleNotFoundError as e:
        if e.name is not None and e.name.split(".")[0] in (
            "fogline",
            "fogline_edge",
            "fogline_hub",
        ):
            raise
        raise errors.Unsupported(
            f"needs the package {e.name}, which is not installed; "
            f"install it with: pip install 'fogline[{command.extra}]'"
        ) from e
