"""`python -m fogline_hub.jobs DIR`: judges what devices sent, and retrains.

Prints `ready jobs` on stdout when it works; SIGTERM ends it with 0. A step of a retraining that is
cut off is done again at the next start; its children die with this process.
"""

import logging
import sys
from pathlib import Path

from fogline import cli, console, log
from fogline.clock import SystemClock
from fogline.errors import FoglineError
from fogline.signals import stop_signal
from fogline_hub.config import HubFolder
from fogline_hub.jobs.build import build_jobs
from fogline_hub.jobs.worker import Loop
from fogline_hub.signer import SignerClient, socket_path

GRACE_S = 2.0
"""How long what is being done is waited for at the end, seconds."""

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Works until SIGTERM or SIGINT; returns the exit code."""
    parser = console.parser("python -m fogline_hub.jobs", "monitor and retrain for the hub in DIR")
    parser.add_argument("dir", type=Path, metavar="DIR")
    arguments = parser.parse_args(argv)
    log.configure()
    try:
        return _work(HubFolder(arguments.dir))
    except FoglineError as e:
        _log.error(str(e))
        return cli.exit_code(e)


def _work(folder: HubFolder) -> int:
    clock, config = SystemClock(), folder.config()
    signer = SignerClient(socket_path(folder.root), clock=clock)
    jobs = build_jobs(folder, config, signer, clock)
    pause_s = config.jobs.interval_s
    retraining = Loop("retraining", jobs.retrainer.tick, interval_s=pause_s)
    monitor = Loop("monitor", jobs.alarms.tick, interval_s=pause_s, on_work=retraining.wake)
    with stop_signal() as stop:
        for loop in (retraining, monitor):
            loop.start()
        console.emit({"jobs": str(folder.root)}, "ready jobs", as_json=False)
        stop.wait()
    for loop in (monitor, retraining):
        loop.close(GRACE_S)
    jobs.catalogue.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
