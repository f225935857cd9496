"""The broker's users as the hub's API sees them: written, reloaded, and seen to have taken effect.

nats-server answers nothing to SIGHUP, so each version of the file names one user more, `hub-probe`,
with a new password: once the broker takes it, the version is in force.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fogline.addresses import Address, parse_address
from fogline.clock import Clock, SystemClock, wait_until
from fogline.durable import write_durably
from fogline.errors import Unavailable
from fogline_hub.broker.config import (
    BrokerConfig,
    DeviceUser,
    device_user,
    hub_user,
    render_users,
)
from fogline_hub.broker.logins import HubLogin, hub_users, new_login, read_logins
from fogline_hub.broker.probe import Answer, ask

USERS_FILE = "users.conf"


def write_users(
    folder: Path, logins: dict[str, HubLogin], devices: Iterable[DeviceUser]
) -> HubLogin:
    """Replaces the file of users; returns the login of its probe."""
    probe = new_login("probe")
    users = [
        *hub_users(logins),
        hub_user("probe", probe.username, probe.password_hash),
        *(device_user(device) for device in devices),
    ]
    write_durably(folder / USERS_FILE, render_users(users).encode())
    return probe


class BrokerUsers:
    """Keeps the broker's users what `devices` says; for several threads at once.

    The first change is applied at once; those that come within `reload_interval_s` of the last
    reload share the next one.

    Args:
        folder: The broker's, `DIR/broker`.
        address: `HOST:PORT` where it serves MQTT.
        devices: Gives every device that may connect now; it is called by `apply`, so what a
            caller committed before is in it.
        config: The broker's bounds.
        clock: Times the waits.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        devices: Callable[[], Sequence[DeviceUser]],
        config: BrokerConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._address: Address = parse_address(address)
        self._devices = devices
        self._config = config or BrokerConfig()
        self._clock = clock or SystemClock()
        self._state = threading.Condition()
        self._asked = 0
        self._applied = 0
        self._is_leading = False
        self._next_reload = 0.0

    def apply(self) -> None:
        """Returns once the broker knows all that `devices` said after this call began.

        Raises:
            Unavailable: it did not take the change in time; the file is written, so a broker that
                starts later does.
        """
        with self._state:
            self._asked += 1
            ticket = self._asked
            while self._applied < ticket:
                if self._is_leading:
                    self._state.wait()
                    continue
                self._is_leading = True
                self._wait_for_turn()
                covered = self._asked
                self._state.release()
                try:
                    self._reload()
                finally:
                    self._state.acquire()
                    self._is_leading = False
                    self._next_reload = self._clock.monotonic() + self._config.reload_interval_s
                    self._state.notify_all()
                self._applied = covered

    def _wait_for_turn(self) -> None:
        while (left_s := self._next_reload - self._clock.monotonic()) > 0:
            self._state.wait(left_s)

    def _reload(self) -> None:
        probe = write_users(self._folder, read_logins(self._folder), self._devices())
        hang_up(self._folder)
        timeout_s = self._config.reload_timeout_s
        is_in_force = wait_until(
            lambda: ask(self._address, probe.username, probe.password) is Answer.ACCEPTED,
            timeout_s=timeout_s,
            poll_s=0.01,
            clock=self._clock,
        )
        if not is_in_force:
            raise Unavailable(
                f"the broker at {self._address} did not take the change of its users within "
                f"{timeout_s} s; is it running? See {self._folder / 'nats.log'}"
            )


def hang_up(folder: Path) -> bool:
    """Asks the running server to read its files again; False where none runs.

    A process id in a file may be another program's by now: its command line has to name our file.
    """
    try:
        pid = int((folder / "nats.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str((folder / "nats.conf").resolve()).encode() not in command:
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True
