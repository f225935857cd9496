"""A whole hub on one machine: made once, then started as a few supervised processes."""

import fcntl
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from fogline.addresses import Address, parse_listen_address
from fogline.clock import Clock, wait_until
from fogline.durable import make_private_folder, write_durably
from fogline.errors import Conflict, FoglineError, Unavailable
from fogline.records import canonical_json
from fogline_hub import audit
from fogline_hub.api.operators import Operators
from fogline_hub.api.server import free_port, listen
from fogline_hub.api.status import STATUS_FILE
from fogline_hub.broker import Broker
from fogline_hub.catalogue import Catalogue
from fogline_hub.config import HubConfig, HubFolder
from fogline_hub.signer import create_trust
from fogline_hub.supervisor import Role, Supervisor, says

FIRST_OPERATOR = "admin"
PORT_RELEASE_S = 5.0
"""How long a port may stay taken by the processes of a hub that was just killed, seconds."""
_OWN = frozenset({"hub.toml", "keys", "operator", "tuf"})
"""What a hub's folder may hold before the hub is made: its configuration, and what was cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `initialise` made for the operator."""

    token_file: Path
    operator_folder: Path


def initialise(folder: HubFolder, clock: Clock) -> Made:
    """Makes keys, signed repository, catalogue and the first operator.

    Interrupted, it can be run again: nothing counts as made until the operator's row commits.

    Raises:
        Conflict: there is a hub in the folder already, or something else.
        Unavailable: the folder cannot be written.
    """
    _check_unused(folder)
    with _disk_faults(folder):
        make_private_folder(folder.root)
        catalogue = Catalogue.open(folder.catalogue)
        try:
            token_file = _make(folder, catalogue, clock)
        finally:
            catalogue.close()
    return Made(token_file=token_file, operator_folder=folder.operator)


def _make(folder: HubFolder, catalogue: Catalogue, clock: Clock) -> Path:
    with catalogue.reading() as connection:
        if audit.last(connection)[0]:
            raise Conflict(
                f"{folder.root} is a hub already; start it with: "
                f"fogline hub start --data {folder.root}"
            )
    if not (folder.tuf / "timestamp.json").exists():
        create_trust(folder.root, folder.operator, clock)
    token_file = folder.operator / f"{FIRST_OPERATOR}.token"
    with catalogue.transaction() as connection:
        audit.record(connection, "hub:init", "hub.created", "hub", at=clock.now())
        token = Operators(clock).create(connection, FIRST_OPERATOR, actor="hub:init")
        write_durably(token_file, token.encode() + b"\n")
    return token_file


def _check_unused(folder: HubFolder) -> None:
    """A hub narrows its folder's rights, so it takes none that holds anything else."""
    names = {p.name for p in folder.root.iterdir()} if folder.root.is_dir() else set()
    foreign = sorted(n for n in names if n not in _OWN and not n.startswith("catalogue.db"))
    if foreign:
        raise Conflict(f"{folder.root} holds other files ({foreign[0]}); name a new folder")


@contextmanager
def _disk_faults(folder: HubFolder) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise Unavailable(f"{e.filename or folder.root} cannot be written: {e.strerror}") from e


def run(
    folder: HubFolder, config: HubConfig, *, clock: Clock, on_ready: Callable[[str, str], None]
) -> None:
    """Runs the hub until SIGTERM or SIGINT.

    Args:
        folder: A hub's.
        config: With the addresses of the command line in it.
        clock: For waits and back-off.
        on_ready: Gets the API's URL and the broker's address, once all processes answer.

    Raises:
        NotFound: the folder is no hub's.
        Conflict: it runs already, or a port is taken.
        Unavailable: a process could not be started or kept running.
    """
    folder.check()
    with _disk_faults(folder):
        make_private_folder(folder.run)
    with _only_one(folder):
        broker = Broker(folder.broker, config.mqtt, config.broker)
        _retried(broker.prepare)
        api = _api_address(folder, config.listen)
        supervisor = Supervisor(
            roles(folder, config, broker, api),
            config.supervisor,
            clock=clock,
            random=random.random,
            status_file=folder.run / STATUS_FILE,
        )
        stop = Event()
        with _stopped_by_signals(stop):
            supervisor.run(stop, lambda: on_ready(f"http://{api}", str(broker.address)))


def roles(folder: HubFolder, config: HubConfig, broker: Broker, api: Address) -> tuple[Role, ...]:
    """The hub's processes in the order in which they need each other."""
    data, mqtt = str(folder.root), str(broker.address)
    # Children inherit nothing that is not named; crash tests have to reach them.
    env = {k: v for k, v in os.environ.items() if k == "FOGLINE_FAILPOINT"}

    def module(name: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", f"fogline_hub.{name}", data, *arguments)

    return (
        Role(
            name="broker",
            argv=broker.command(),
            is_ready=lambda _: broker.is_ready(),
            last_words=broker.last_words,
        ),
        Role(name="signer", argv=module("signer"), env=env, is_ready=says("ready ")),
        Role(
            name="ingest",
            argv=module("ingest", "--mqtt", mqtt),
            env=env,
            stdin=canonical_json(config.ingest),
            is_ready=says("ready "),
            needs=("broker", "signer"),
        ),
        Role(
            name="api",
            argv=module("api", "--listen", str(api), "--mqtt", mqtt),
            env=env,
            is_ready=says("ready "),
            needs=("broker", "signer"),
        ),
        Role(
            name="jobs",
            argv=module("jobs"),
            env=env,
            is_ready=says("ready "),
            needs=("signer",),
        ),
    )


def _api_address(folder: HubFolder, asked: str) -> Address:
    """The asked address; of port 0 the port of the last time, or a free one, which is kept."""
    address = parse_listen_address(asked)
    kept = folder.root / "api.port"
    if address.port == 0:
        known = kept.read_text().strip() if kept.exists() else ""
        port = int(known) if known.isdecimal() and 0 < int(known) < 65_536 else 0
        address = Address(address.host, port or free_port(address))
        write_durably(kept, f"{address.port}\n".encode())
    _retried(lambda: listen(address).close())
    return address


def _retried(action: Callable[[], None]) -> None:
    """Runs `action` until it raises no `Conflict`, for at most `PORT_RELEASE_S`."""
    errors: list[FoglineError] = []

    def is_done() -> bool:
        errors.clear()
        try:
            action()
        except Conflict as e:
            errors.append(e)
        return not errors

    if not wait_until(is_done, timeout_s=PORT_RELEASE_S, poll_s=0.1):
        raise errors[0]


@contextmanager
def _only_one(folder: HubFolder) -> Iterator[None]:
    path = folder.run / "hub.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read(20).strip() or "unknown"
            raise Conflict(
                f"the hub in {folder.root} runs already (process {pid}); stop it first"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[None]:
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
