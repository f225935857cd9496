"""A push, step by step: upload what is missing, get a number, sign, publish."""

from hashlib import sha256

from fogline.bundle import MANIFEST_NAME, Bundle
from fogline.bundle.manifest import MAX_MANIFEST_BYTES
from fogline.clock import Clock
from fogline.errors import Conflict, Corrupt
from fogline.records import Record
from fogline_hub.api.models import NewAlias, NewVersion, PushedVersion
from fogline_hub.client import HubClient
from fogline_hub.delivery import OperatorKeys, sign_target
from fogline_hub.registry import Alias, State, Version

MAX_SIGNINGS = 10
"""How often a signature is made anew because another operator published in between."""


class Pushed(Record, frozen=True, kw_only=True):
    version: Version
    uploaded: int
    """Files that the hub did not have yet."""
    alias: str = ""


def push_bundle(
    client: HubClient,
    keys: OperatorKeys,
    name: str,
    bundle: Bundle,
    *,
    clock: Clock,
    alias: str = "",
) -> Pushed:
    """Makes a bundle the next version of a model, signed and published.

    Every step can be repeated, so a push that was cut off is simply pushed again.

    Raises:
        InvalidInput: the hub refuses the bundle; the text says why.
        Conflict: others published again and again in between.
    """
    manifest = (bundle.folder / MANIFEST_NAME).read_bytes()[: MAX_MANIFEST_BYTES + 1]
    if sha256(manifest).hexdigest() != bundle.digest:
        raise Corrupt(f"{bundle.folder / MANIFEST_NAME} changed while it was being pushed")
    uploaded = _upload(client, bundle)
    asked = NewVersion(manifest=bundle.digest)
    pushed = client.post(f"/v1/models/{name}/versions", asked, PushedVersion)
    version = pushed.version
    if version.state is State.PENDING:
        version = _publish(client, keys, pushed, manifest, clock)
    if alias:
        target = NewAlias(version=version.number)
        client.put(f"/v1/models/{name}/aliases/{alias}", target, Alias)
    return Pushed(version=version, uploaded=uploaded, alias=alias)


def _upload(client: HubClient, bundle: Bundle) -> int:
    files = {entry.sha256: bundle.path(entry.path) for entry in bundle.manifest.files}
    files[bundle.digest] = bundle.folder / MANIFEST_NAME
    missing = [digest for digest in files if not client.has_blob(digest)]
    for digest in missing:
        client.put_blob(digest, files[digest])
    return len(missing)


def _publish(
    client: HubClient, keys: OperatorKeys, pushed: PushedVersion, manifest: bytes, clock: Clock
) -> Version:
    version = pushed.version
    for _ in range(MAX_SIGNINGS):
        current = client.get_bytes("/v1/targets")
        signed = sign_target(current, keys, pushed.target, manifest, now=clock.now())
        try:
            client.post("/v1/targets", signed, tuple[Version, ...])
        except Conflict:
            continue  # another operator was quicker: sign on top of what is there now
        path = f"/v1/models/{version.model}/versions/{version.number}"
        return client.get(path, Version)
    raise Conflict(
        f"{version.ref} is pushed but not published: other operators published {MAX_SIGNINGS} "
        "times in between; push it again"
    )
