"""MQTT topics: how they are built, and what a received one says.

Six levels, so five slashes of the seven that cloud brokers allow. The hub takes a device's identity
from the topic, which the broker enforces, never from a payload.
"""

from dataclasses import dataclass

from fogline.errors import Corrupt, InvalidInput
from fogline.ids import check_id, shard_of

PREFIX = "fl/1"
STREAMS = ("alarm", "feedback", "summary", "sample", "event")
"""Streams of the outbox, most important first."""
MAX_PAYLOAD_BYTES = 64 * 1024
"""Largest MQTT payload, in bytes; cloud brokers take at least twice that."""

UP_LOGS = f"{PREFIX}/up/+/+/log/+"
UP_STATES = f"{PREFIX}/up/+/+/state"


def up_log(device: str, stream: str) -> str:
    if stream not in STREAMS:
        raise InvalidInput(f"no stream {stream[:40]!r}; there are: {', '.join(STREAMS)}")
    return f"{_up(device)}/log/{stream}"


def up_state(device: str) -> str:
    return f"{_up(device)}/state"


def down(device: str, kind: str) -> str:
    """Topic of `desired`, `ack` or `cmd` messages to a device; `kind="+"` subscribes to all."""
    return f"{PREFIX}/down/{check_id(device, 'device')}/{kind}"


def _up(device: str) -> str:
    return f"{PREFIX}/up/{shard_of(check_id(device, 'device'))}/{device}"


@dataclass(frozen=True, slots=True)
class UpTopic:
    """What an `up/` topic says; `stream` is empty for a state."""

    device: str
    shard: int
    stream: str


def parse_up(topic: str) -> UpTopic:
    """Reads an `up/` topic.

    Raises:
        Corrupt: not an `up/` topic, or its shard is not the device's.
    """
    match topic[:200].split("/"):
        case ["fl", "1", "up", shard, device, "log", stream] if stream in STREAMS:
            pass
        case ["fl", "1", "up", shard, device, "state"]:
            stream = ""
        case _:
            raise Corrupt(f"not a topic of a device: {topic[:200]!r}")
    try:
        check_id(device, "device")
    except InvalidInput as e:
        raise Corrupt(str(e)) from e
    if shard != str(shard_of(device)):
        raise Corrupt(f"device {device} is not of shard {shard[:8]!r}")
    return UpTopic(device=device, shard=int(shard), stream=stream)
