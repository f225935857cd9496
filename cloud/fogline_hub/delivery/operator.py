"""The offline side: what an operator signs with keys that the hub never sees.

The keys lie in a folder of their own, made at `hub init` and to be moved away from the hub:
`root-1.pem` ..., `targets.pem`, beside public copies of the first root and of the hub's `auto` key.
The hub hands out the metadata to sign on top of, so it is verified first: signing whatever a hub
says would make the hub the operator.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from fogline.errors import Conflict, Corrupt, InvalidInput, NotFound
from fogline.records import decode_json
from fogline.trust import AUTO, TARGETS, auto_pattern
from fogline_hub.delivery.keyfile import load_key
from fogline_hub.delivery.metadata import auto_models, manifest_target, read, verify
from fogline_hub.delivery.policy import DeliveryBounds
from fogline_hub.delivery.published import first_root

TARGETS_KEY = "targets.pem"
ROOT_COPY = "root.json"
AUTO_COPY = "auto.pub.json"


@dataclass(frozen=True, slots=True, repr=False)
class OperatorKeys:
    """The opened folder; its repr shows no key."""

    targets: CryptoSigner
    root: Root
    auto: SSlibKey


def load_operator(folder: Path) -> OperatorKeys:
    """Opens an operator's folder.

    Raises:
        NotFound: a file is missing.
        Forbidden: a key is readable by others.
        Corrupt: a file is not what it should be.
    """
    root = first_root(_read(folder / ROOT_COPY), str(folder / ROOT_COPY))
    return OperatorKeys(load_key(folder / TARGETS_KEY), root, _public_key(folder / AUTO_COPY))


def sign_target(
    current: bytes,
    keys: OperatorKeys,
    path: str,
    manifest: bytes,
    *,
    now: datetime,
    bounds: DeliveryBounds | None = None,
) -> bytes:
    """The next targets metadata: the current one and a manifest under `path`, signed.

    Raises:
        Untrusted: `current` is not signed by this hub's operators.
        Conflict: the path is signed already, for another manifest.
        InvalidInput: the path is not `models/NAME/VERSION/manifest.json`.
    """
    signed = _verified(current, keys)
    target = manifest_target(path, manifest)
    if signed.targets.get(path, target) != target:
        raise Conflict(f"{path} is signed already, for another manifest; push a new version")
    signed.targets[path] = target
    return _next(signed, keys, now, bounds or DeliveryBounds())


def delegate_auto(
    current: bytes,
    keys: OperatorKeys,
    name: str,
    *,
    now: datetime,
    bounds: DeliveryBounds | None = None,
) -> bytes:
    """The next targets metadata, in which the hub may sign retrained versions of model `name`.

    Raises:
        Untrusted: `current` is not signed by this hub's operators.
        InvalidInput: `name` is not a model's.
    """
    signed = _verified(current, keys)
    names = auto_models(signed)
    return _delegating(signed, keys, (*names, *(() if name in names else (name,))), now, bounds)


def withdraw_auto(
    current: bytes,
    keys: OperatorKeys,
    name: str,
    *,
    now: datetime,
    bounds: DeliveryBounds | None = None,
) -> bytes:
    """The next targets metadata, in which the hub may not sign versions of model `name`.

    Versions that `auto` signed before stop being installable; those that run go on.

    Raises:
        NotFound: it was not delegated.
    """
    signed = _verified(current, keys)
    names = auto_models(signed)
    if name not in names:
        raise NotFound(f"{AUTO} has no right to model {name[:80]!r}; it has: {list(names)}")
    return _delegating(signed, keys, tuple(n for n in names if n != name), now, bounds)


def _delegating(
    signed: Targets,
    keys: OperatorKeys,
    names: tuple[str, ...],
    now: datetime,
    bounds: DeliveryBounds | None,
) -> bytes:
    if names:
        role = DelegatedRole(
            AUTO,
            [keys.auto.keyid],
            threshold=1,
            terminating=True,
            paths=[auto_pattern(n) for n in names],
        )
        signed.delegations = Delegations({keys.auto.keyid: keys.auto}, {AUTO: role})
    else:
        signed.delegations = None
    return _next(signed, keys, now, bounds or DeliveryBounds())


def _verified(current: bytes, keys: OperatorKeys) -> Targets:
    metadata = read(Targets, current, "the hub's targets metadata")
    return verify(keys.root, TARGETS, metadata, "the hub's targets metadata").signed


def _next(signed: Targets, keys: OperatorKeys, now: datetime, bounds: DeliveryBounds) -> bytes:
    signed.version += 1
    signed.expires = (now + timedelta(days=bounds.targets_days)).replace(microsecond=0)
    metadata = Metadata(signed)
    metadata.sign(keys.targets)
    return metadata.to_bytes()


def _public_key(path: Path) -> SSlibKey:
    plain = decode_json(_read(path), dict, str(path))
    try:
        return SSlibKey.from_dict(str(plain.pop("keyid")), plain)
    except (KeyError, ValueError, TypeError) as e:
        raise Corrupt(f"{path} is not a public key: {e}") from e


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as e:
        raise NotFound(f"{path} is missing; is {path.parent} an operator's folder?") from e
    except OSError as e:
        raise InvalidInput(f"{path}: {e.strerror}") from e
