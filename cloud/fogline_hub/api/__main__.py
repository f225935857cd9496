"""`python -m fogline_hub.api DIR --listen H:P --mqtt H:P`: the API's process.

Prints `ready api=URL` on stdout when it answers; SIGTERM ends it with 0.
"""

import logging
import signal
import sys
import threading
from pathlib import Path

from fogline import cli, console, log
from fogline.addresses import parse_address
from fogline.clock import SystemClock
from fogline.errors import FoglineError
from fogline_hub.api.app import make_app
from fogline_hub.api.build import build_rooms
from fogline_hub.api.fleet import Fleet
from fogline_hub.api.rooms import Rooms
from fogline_hub.api.server import ApiServer, listen, url_of
from fogline_hub.config import HubFolder
from fogline_hub.devices import Endpoints

RENEW_INTERVAL_S = 300.0
"""Time between two looks at whether online metadata is to be renewed, seconds."""

_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    parser = console.parser("python -m fogline_hub.api", "serve the API of the hub in DIR")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT", help="where the broker is")
    arguments = parser.parse_args(argv)
    log.configure()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return _serve(HubFolder(arguments.dir), arguments.listen, arguments.mqtt)
    except FoglineError as e:
        _log.error(str(e))
        return cli.exit_code(e)


def _serve(folder: HubFolder, address: str, mqtt: str) -> int:
    bound = listen(address)
    broker = parse_address(mqtt)
    endpoints = Endpoints(url=url_of(bound), mqtt_host=broker.host, mqtt_port=broker.port)
    rooms = build_rooms(folder, folder.config(), endpoints, SystemClock())
    closing = threading.Event()
    keeper = threading.Thread(target=_keep_fresh, args=(rooms, closing), name="keeper", daemon=True)
    server = ApiServer(make_app(rooms), bound)
    fleet = Fleet(folder, rooms)
    try:
        _catch_up(rooms)
        server.start()
        fleet.start()
        keeper.start()
        console.emit({"api": server.url}, f"ready api={server.url}", as_json=False)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        closing.set()
        server.close()
        fleet.close()
        rooms.catalogue.close()
    return 0


def _catch_up(rooms: Rooms) -> None:
    """What a crash may have left between the catalogue and what follows it."""
    rooms.intake.sweep()
    rooms.blobs.sweep(rooms.clock.now())
    rooms.publication.settle(actor="hub:api")
    rooms.enrolment.logins.apply()


def _keep_fresh(rooms: Rooms, closing: threading.Event) -> None:
    """Renews snapshot and timestamp before they run out."""
    while not closing.is_set():
        try:
            rooms.repository.tick(rooms.clock.now())
        except FoglineError as e:
            _log.warning("metadata not renewed", extra={"reason": str(e)})
        except Exception:  # a task boundary: the next look may succeed
            _log.exception("metadata not renewed")
        closing.wait(RENEW_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
