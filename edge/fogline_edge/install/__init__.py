"""From a wanted version to one that serves: fetch, verify, prove, activate, go back.

`fetch` and `enroll` import httpx and tuf and are not for the agent's own process.
"""

from fogline_edge.install.identity_file import IDENTITY, load_identity
from fogline_edge.install.installer import Installer
from fogline_edge.install.phases import Phase
from fogline_edge.install.records import InstallConfig, Installed, ModelReport

__all__ = [
    "IDENTITY",
    "InstallConfig",
    "Installed",
    "Installer",
    "ModelReport",
    "Phase",
    "load_identity",
]
