"""The record without which the signer signs no retrained version."""

from datetime import datetime
from typing import Literal

from fogline.desired import Digest, Name, Positive
from fogline.records import Record


class Approval(Record, frozen=True, kw_only=True):
    """A judge's or an operator's word that a retrained version may go out.

    Its canonical JSON goes to the signer, which puts that text's SHA-256 into the signed metadata,
    so that an auditor can tell later on which word a version went out.
    """

    model: Name
    version: Positive
    manifest: Digest
    manifest_bytes: Positive
    """Length of the manifest, in bytes."""
    champion: Positive
    """The version that it was judged against."""
    verdict: Literal["better"]
    """Nothing but a challenger that won is approved."""
    evidence: Digest
    """SHA-256 of the whole judgement, which the hub keeps."""
    by: str
    """Who judged: `judge`, or an operator's name."""
    judged_at: datetime
