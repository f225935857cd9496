"""What the API serves from: the hub's rooms, put together by `fogline_hub.hub`."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.clock import Clock
from fogline_hub.api.operators import Operators
from fogline_hub.catalogue import Catalogue
from fogline_hub.delivery import Repository
from fogline_hub.devices import Devices, Endpoints, Enrolment, Tokens
from fogline_hub.registry import Blobs, Intake, Publication, Registry

if TYPE_CHECKING:  # commands read records of this package, and need no lake
    from fogline_hub.lake import Lake


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    catalogue: Catalogue
    clock: Clock
    endpoints: Endpoints
    operators: Operators
    devices: Devices
    tokens: Tokens
    enrolment: Enrolment
    registry: Registry
    blobs: Blobs
    intake: Intake
    repository: Repository
    publication: Publication
    lake: "Lake"
    fleet_changed: threading.Event
    """Set when the rollouts' controller should look at once."""
    run_folder: Path
    """Where the supervisor tells what the hub's processes do."""
