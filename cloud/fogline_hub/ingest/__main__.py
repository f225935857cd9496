"""`python -m fogline_hub.ingest DIR --mqtt HOST:PORT`: stores what devices send.

Reads an `IngestConfig` as JSON from stdin; nothing there means all defaults. Its login is in
`DIR/broker`, the signer behind a socket in `DIR/run`. Prints `ready ingest=HOST:PORT` when messages
arrive; SIGTERM commits what is there and ends with 0; exit code 9 says that another process has
taken the lake over.
"""

import logging
import signal
import sys
import threading
from pathlib import Path

from fogline import cli, console, log
from fogline.clock import SystemClock, wait_until
from fogline.durable import make_private_folder
from fogline.errors import FoglineError, InvalidInput
from fogline.records import decode_json
from fogline_hub.broker import hub_login
from fogline_hub.ingest.settings import IngestConfig
from fogline_hub.ingest.worker import Worker
from fogline_hub.lake import Lake
from fogline_hub.signer import SignerClient, socket_path

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Works until SIGTERM; returns the exit code."""
    parser = console.parser("python -m fogline_hub.ingest", "store what devices send to the hub")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT", help="the broker")
    arguments = parser.parse_args(argv)
    log.configure()
    try:
        worker = _compose(arguments.dir, arguments.mqtt)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: worker.stop())
        threading.Thread(target=_announce, args=(worker, arguments.mqtt), daemon=True).start()
        worker.run()
    except FoglineError as e:
        _log.error(str(e))
        return cli.exit_code(e)
    return 0


def _compose(folder: Path, address: str) -> Worker:
    text = b"" if sys.stdin.isatty() else sys.stdin.buffer.read().strip()
    config = decode_json(text or b"{}", IngestConfig, "configuration on stdin", fault=InvalidInput)
    return Worker(
        Lake(folder / "lake"),
        SignerClient(socket_path(folder)),
        address=address,
        login=hub_login(folder / "broker", "ingest"),
        config=config,
        clock=SystemClock(),
        run_folder=make_private_folder(folder / "run"),
    )


def _announce(worker: Worker, address: str) -> None:
    if wait_until(lambda: worker.is_connected, timeout_s=threading.TIMEOUT_MAX):
        console.emit({"ingest": address}, f"ready ingest={address}", as_json=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
