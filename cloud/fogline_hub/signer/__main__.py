"""`python -m fogline_hub.signer DIR`: the process that holds the hub's keys.

Prints `ready signer=PATH` on stdout when it answers; SIGTERM ends it with 0.
"""

import logging
import resource
import signal
import sys
from pathlib import Path

from fogline import cli, console, log
from fogline.clock import SystemClock
from fogline.errors import FoglineError
from fogline_hub.signer.server import SignerServer
from fogline_hub.signer.trust import open_desk, socket_path

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    parser = console.parser("python -m fogline_hub.signer", "hold the keys of the hub in DIR")
    parser.add_argument("dir", type=Path, metavar="DIR")
    folder: Path = parser.parse_args(argv).dir
    log.configure()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold every key
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        server = SignerServer(socket_path(folder), open_desk(folder, SystemClock()))
    except FoglineError as e:
        _log.error(str(e))
        return cli.exit_code(e)
    path = str(socket_path(folder))
    console.emit({"signer": path}, f"ready signer={path}", as_json=False)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
