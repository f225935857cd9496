"""One run of an agent's installer as a process of its own, to be killed: `python -m`.

Reads one JSON record on stdin: the device's folder, its identity, and what to do. Prints one JSON
line for what a boot let serve, and one for the result of an installation; ends without a clean stop
unless asked for one.
"""

import sys
from pathlib import Path

from fogline.clock import SystemClock
from fogline.desired import DesiredModel
from fogline.identity import Identity
from fogline.records import Record, canonical_json, decode_json
from fogline_edge.install import InstallConfig, Installed, Installer, ModelReport
from fogline_edge.install.attempts import AttemptBounds
from fogline_edge.install.fetch.messages import FetchBounds
from fogline_edge.install.qualify import Verdict
from fogline_edge.install.store import HeldVersion
from tests.devices import check_installed


class Run(Record, frozen=True, kw_only=True):
    folder: str
    identity: Identity
    install: DesiredModel | None = None
    generation: int = 1
    is_clean: bool = False


def _prove(held: HeldVersion, memory_bytes: int, timeout_s: float) -> Verdict:
    return Verdict()


def main() -> None:
    """Boots, installs, and confirms at once what it installed."""
    run = decode_json(sys.stdin.buffer.read(), Run, "run")
    config = InstallConfig(
        fetch=FetchBounds(attempts=2, retry_base_s=0, retry_cap_s=0, reserve_bytes=0),
        attempts=AttemptBounds(crashes=10, power_losses=10, probation_s=1e-6),
    )
    serving: dict[str, int] = {}

    def activate(installed: Installed) -> None:
        check_installed(installed)
        serving[installed.name] = installed.version

    def report(_: ModelReport) -> None:
        """The test asks at the end."""

    installer = Installer(
        Path(run.folder),
        run.identity,
        activate=activate,
        deactivate=serving.__delitem__,
        report=report,
        clock=SystemClock(),
        prove=_prove,
        config=config,
    )
    installer.boot()
    _say({"booted": serving})
    if run.install is not None:
        done = installer.install(run.install, run.generation)
        installer.tick()
        _say({"phase": done.phase.value, "reason": done.reason, "serving": serving})
    if run.is_clean:
        installer.close()


def _say(value: object) -> None:
    sys.stdout.buffer.write(canonical_json(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
