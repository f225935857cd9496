"""Proves a held version on this device, in a limited child, before it may serve."""

from collections.abc import Callable
from dataclasses import dataclass

from fogline_edge.install.records import InstallConfig
from fogline_edge.install.store import HeldVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What qualification found; an empty `reason` means that the version may serve."""

    reason: str = ""
    is_transient: bool = False
    """The device could not judge now; the version is not to blame."""


Qualify = Callable[[HeldVersion, InstallConfig], Verdict]
