"""nats-server's configuration as text: who may connect, and to what.

Two files: `nats.conf`, which the supervisor writes before it starts the server, and `users.conf`,
which it includes and which changes with the fleet. What of NATS's permissions is leant on was
tried against the real server (tests/contract/test_broker_acl.py): an MQTT topic is a NATS subject
with dots for slashes; `down/X/#` also asks for `down.X`; nothing of `$MQTT.>`, `$JS.>` or `$SYS.>`
has to be granted, and nothing of it can be had.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fogline.addresses import Address
from fogline.ids import check_id, shard_of
from fogline.records import Record
from fogline.topics import MAX_PAYLOAD_BYTES, PREFIX, STREAMS

Seconds = Annotated[float, Meta(gt=0, le=3600)]
MiB = Annotated[int, Meta(ge=1, le=1024 * 1024)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

_SUBJECTS = PREFIX.replace("/", ".")
_BCRYPT = r"^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$"


class BrokerConfig(Record, frozen=True, kw_only=True):
    """Bounds of the embedded broker, each with its unit."""

    max_connections: Count = 10_000
    max_waiting_mib: MiB = 16
    """Bytes that wait for one slow connection before it is cut."""
    memory_store_mib: MiB = 64
    file_store_mib: MiB = 512
    """What JetStream keeps of sessions and of messages without a PUBACK; nothing relies on it."""
    unacknowledged: Annotated[int, Meta(ge=1, le=65_535)] = 2048
    """QoS 1 messages under way to one subscriber; more wait in the broker."""
    redelivery_s: Seconds = 60.0
    """Silence of a subscriber after which a QoS 1 message is sent to it again."""
    log_mib: MiB = 8
    """Length of one log file; the one before it is kept too."""
    start_timeout_s: Seconds = 15.0
    reload_timeout_s: Seconds = 15.0
    """Longest wait until a change of users has taken effect."""
    reload_interval_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
    """Least time between two reloads: changes within it share one."""


class DeviceUser(Record, frozen=True, kw_only=True):
    """A device as the broker knows it."""

    device: str
    username: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    password_hash: Annotated[str, Meta(pattern=_BCRYPT)]
    """From `hash_password`."""


class User(Record, frozen=True, kw_only=True):
    """One entry of `users.conf`; subjects in NATS's spelling."""

    username: str
    password_hash: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def device_user(user: DeviceUser) -> User:
    """What a device may do: publish on its own `up/` topics, subscribe to its own `down/`.

    The topics are named one by one: a broker keeps a retained message for each topic that it is
    sent one on, so a device with endless topics could fill its store.

    Raises:
        InvalidInput: its id cannot stand in a topic.
    """
    device = check_id(user.device, "device")
    up = f"{_SUBJECTS}.up.{shard_of(device)}.{device}"
    down = f"{_SUBJECTS}.down.{device}"
    return User(
        username=user.username,
        password_hash=user.password_hash,
        publish=(f"{up}.state", f"{up}.met", *(f"{up}.log.{stream}" for stream in STREAMS)),
        subscribe=(down, f"{down}.>"),
    )


def hub_user(role: str, username: str, password_hash: str) -> User:
    """What a process of the hub may do.

    Raises:
        KeyError: there is no such role.
    """
    publish, subscribe = _ROLES[role]
    return User(
        username=username, password_hash=password_hash, publish=publish, subscribe=subscribe
    )


_ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "api": (
        (f"{_SUBJECTS}.down.*.desired", f"{_SUBJECTS}.down.*.cmd"),
        (f"{_SUBJECTS}.up.*.*.state",),
    ),
    "ingest": ((f"{_SUBJECTS}.down.*.ack",), (f"{_SUBJECTS}.up.*.*.log.*",)),
    "probe": ((), ()),  # may connect, which is how a reload is seen to have happened
}
ROLES = tuple(_ROLES)
"""The hub's own users: the API, ingest, and the probe."""


def render_users(users: Sequence[User]) -> str:
    """The text of `users.conf`."""
    entries = "\n".join(f"    {_entry(user)}" for user in users)
    return f"authorization {{\n  users: [\n{entries}\n  ]\n}}\n"


def _entry(user: User) -> str:
    def only(subjects: tuple[str, ...]) -> dict[str, list[str]]:
        return {"allow": list(subjects)} if subjects else {"deny": [">"]}

    # A JSON object is one of the forms that nats-server's parser takes.
    return json.dumps(
        {
            "user": user.username,
            "password": user.password_hash,
            "allowed_connection_types": ["MQTT"],
            "permissions": {"publish": only(user.publish), "subscribe": only(user.subscribe)},
        }
    )


def render_server(config: BrokerConfig, listen: Address, folder: Path, users_file: str) -> str:
    """The text of `nats.conf`."""
    return f"""\
# Written by fogline at each start; edits are lost.
server_name: fogline
# NATS clients get a port that nobody is told, and no user may use it.
listen: "127.0.0.1:-1"
mqtt {{
  listen: {json.dumps(str(listen))}
  ack_wait: "{config.redelivery_s}s"
  max_ack_pending: {config.unacknowledged}
}}
jetstream {{
  store_dir: {json.dumps(str(folder / "jetstream"))}
  max_memory_store: {config.memory_store_mib}MB
  max_file_store: {config.file_store_mib}MB
}}
max_connections: {config.max_connections}
max_payload: {2 * MAX_PAYLOAD_BYTES}
max_pending: {config.max_waiting_mib}MB
pid_file: {json.dumps(str(folder / "nats.pid"))}
log_file: {json.dumps(str(folder / "nats.log"))}
logfile_size_limit: {config.log_mib}MB
logfile_max_num: 1
include {json.dumps(users_file)}
"""
