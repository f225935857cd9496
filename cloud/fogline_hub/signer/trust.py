"""Sets up and opens a hub's trust: where the keys, the counter and the published metadata lie."""

from pathlib import Path

from fogline.clock import Clock
from fogline.durable import write_durably
from fogline.errors import Conflict, NotFound
from fogline.trust import TIMESTAMP
from fogline_hub.delivery import DeliveryBounds, RootKeys, create_root, publish_first
from fogline_hub.delivery.published import first_root
from fogline_hub.signer.bounds import SignerBounds
from fogline_hub.signer.counter import Counter
from fogline_hub.signer.desk import Desk
from fogline_hub.signer.keys import ROOT_PIN, create_keys, load_keys

KEYS = "keys"
PUBLISHED = "tuf"
OPERATOR = "operator"


def socket_path(folder: Path) -> Path:
    """Where the signer of the hub in `folder` listens."""
    return folder / "run" / "signer.sock"


def create_trust(
    folder: Path,
    operator_folder: Path,
    clock: Clock,
    *,
    root_keys: RootKeys | None = None,
    bounds: DeliveryBounds | None = None,
) -> bytes:
    """Makes all keys and the first publication of the hub in `folder`, for `hub init`.

    Interrupted, it can be run again.

    Args:
        folder: The hub's data folder; gets `keys/` and `tuf/`.
        operator_folder: Gets the offline keys; to be moved away from the hub.
        clock: For expiry and version numbers.
        root_keys: How many root keys, and how many must sign.
        bounds: Lives of the metadata.

    Returns:
        The root metadata; its SHA-256 goes into every token.

    Raises:
        Conflict: there is a repository already.
    """
    published = folder / PUBLISHED
    if (published / f"{TIMESTAMP}.json").exists():
        raise Conflict(f"{folder} is a hub already")
    keys = create_keys(folder / KEYS)
    now = clock.now()
    root = create_root(
        published, operator_folder, keys.public(), now=now, root_keys=root_keys, bounds=bounds
    )
    write_durably(folder / KEYS / ROOT_PIN, root)
    publish_first(published, open_desk(folder, clock), now=now, bounds=bounds)
    return root


def open_desk(folder: Path, clock: Clock, bounds: SignerBounds | None = None) -> Desk:
    """Opens the keys of the hub in `folder`; for the signer process, and for set-up.

    Raises:
        NotFound: there is no such hub.
        Forbidden: a key is open to others.
        Corrupt: a key or the pinned root is damaged.
    """
    keys = load_keys(folder / KEYS)
    pin = folder / KEYS / ROOT_PIN
    if not pin.exists():
        raise NotFound(f"{pin} is missing; run `fogline hub init` first")
    return Desk(
        keys,
        root=first_root(pin.read_bytes(), str(pin)),
        published=folder / PUBLISHED,
        counter=Counter(folder / KEYS / "counter", clock),
        clock=clock,
        bounds=bounds,
    )
