"""Makes a new repository: offline keys, the first root, empty targets, the first publication.

Interrupted, it can be run again: keys that exist are kept, and nothing counts as made until
`timestamp.json` stands.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from fogline.durable import make_private_folder, write_durably
from fogline.errors import Conflict, InvalidInput
from fogline.records import canonical_json
from fogline.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from fogline_hub.delivery.keyfile import create_key
from fogline_hub.delivery.metadata import file_name
from fogline_hub.delivery.operator import AUTO_COPY, ROOT_COPY, TARGETS_KEY
from fogline_hub.delivery.policy import DeliveryBounds
from fogline_hub.delivery.repository import OnlineSigner, publish


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineKeys:
    """Public keys of the roles that the hub signs by itself."""

    snapshot: SSlibKey
    timestamp: SSlibKey
    auto: SSlibKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKeys:
    """How many root keys there are, and how many of them must sign a root."""

    count: int = 1
    threshold: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.count <= 16:
            raise InvalidInput(f"{self.threshold} of {self.count} root keys; at most 16")


def create_root(
    folder: Path,
    operator_folder: Path,
    online: OnlineKeys,
    *,
    now: datetime,
    root_keys: RootKeys | None = None,
    bounds: DeliveryBounds | None = None,
) -> bytes:
    """Makes the offline keys and signs the first root and the empty first targets.

    Returns:
        The root's bytes; their SHA-256 is what tokens carry.

    Raises:
        Conflict: `folder` holds a repository already.
    """
    bounds = bounds or DeliveryBounds()
    if (folder / f"{TIMESTAMP}.json").exists():
        raise Conflict(f"{folder} already holds a signed repository")
    folder.mkdir(parents=True, exist_ok=True)
    make_private_folder(operator_folder)
    counts = root_keys or RootKeys()
    roots = [create_key(operator_folder / f"root-{i + 1}.pem") for i in range(counts.count)]
    targets_key = create_key(operator_folder / TARGETS_KEY)
    path = folder / file_name(ROOT, 1)
    expires = (now + timedelta(days=bounds.root_days)).replace(microsecond=0)
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    for key in roots:
        root.add_key(key.public_key, ROOT)
    root.roles[ROOT].threshold = counts.threshold
    root.add_key(targets_key.public_key, TARGETS)
    root.add_key(online.snapshot, SNAPSHOT)
    root.add_key(online.timestamp, TIMESTAMP)
    data = _signed(Metadata(root), roots)
    write_durably(path, data, mode=0o644)
    write_durably(operator_folder / ROOT_COPY, data)
    public = {"keyid": online.auto.keyid, **online.auto.to_dict()}
    write_durably(operator_folder / AUTO_COPY, canonical_json(public))
    targets = Targets(
        version=1, expires=(now + timedelta(days=bounds.targets_days)).replace(microsecond=0)
    )
    write_durably(
        folder / file_name(TARGETS, 1), _signed(Metadata(targets), [targets_key]), mode=0o644
    )
    return data


def publish_first(
    folder: Path, online: OnlineSigner, *, now: datetime, bounds: DeliveryBounds | None = None
) -> None:
    """The first snapshot and timestamp over what `create_root` wrote."""
    targets = (folder / file_name(TARGETS, 1)).read_bytes()
    publish(
        folder,
        online,
        {TARGETS: (1, targets)},
        now=now,
        bounds=bounds or DeliveryBounds(),
    )


def _signed(metadata: Metadata[Root] | Metadata[Targets], keys: list[CryptoSigner]) -> bytes:
    for key in keys:
        metadata.sign(key, append=True)
    return metadata.to_bytes()
