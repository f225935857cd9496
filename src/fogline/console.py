"""What a command prints: results on stdout, progress and errors on stderr.

Nothing else in Fogline prints. A command builds its parser with `parser`, reports work that takes
over a second with `step`, and hands its one result to `emit`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from fogline.records import canonical_json, to_plain

BAR_CHARS = 24
"""Width of a progress bar."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors say where the help is, and that never guesses a flag."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n  see: {self.prog} --help\n")


def parser(prog: str, description: str, *examples: str) -> Parser:
    """A parser for one command, with `--json` and an epilog of examples."""
    made = Parser(
        prog=prog,
        description=description,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    return made


def emit(value: object, text: str, *, as_json: bool) -> None:
    """Prints a command's result: `value` as one line of JSON, or `text` for people."""
    print(canonical_json(to_plain(value)).decode() if as_json else text, flush=True)


def say(text: str) -> None:
    """One line for people on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Shows on stderr what is going on, and how long it took when it ended well."""
    interactive = sys.stderr.isatty()
    if interactive:
        print(f"… {text}", end="\r", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"✗ {text}" + " " * 12)
        raise
    say(f"✓ {text} ({time.monotonic() - began:.1f} s)")


@contextmanager
def progress(text: str) -> Iterator[Callable[[int, int, str], None]]:
    """A `step` with a bar: the function yielded is told steps done, steps in all, and what goes on.

    Where stderr is no terminal, only the end is told.
    """
    interactive = sys.stderr.isatty()

    def show(done: int, total: int, what: str) -> None:
        if interactive:
            filled = BAR_CHARS * min(done, total) // max(total, 1)
            bar = "█" * filled + "░" * (BAR_CHARS - filled)
            print(f"\r{bar} {done}/{total} {printable(what)[:50]:<50}", end="", file=sys.stderr)
            sys.stderr.flush()

    with step(text):
        try:
            yield show
        finally:
            if interactive:
                print("\r" + " " * (BAR_CHARS + 62), end="\r", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with control characters escaped, so that untrusted strings cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Left-aligned text table, header first; numbers to the right; empty text for no rows."""
    if not rows:
        return "(none)"
    cells = [[printable(_cell(row.get(c))) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    right = [
        all(isinstance(row.get(c), (int, float)) or row.get(c) is None for row in rows)
        for c in columns
    ]

    def line(values: Sequence[str]) -> str:
        return "  ".join(
            v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(columns), *(line(values) for values in cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
