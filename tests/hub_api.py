"""A hub's API in this process: real catalogue, keys, signed repository and HTTP server.

Only the broker is left out: nothing here asks for an MQTT connection.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from fogline.bundle import Manifest
from fogline.clock import SystemClock
from fogline.errors import InvalidInput
from fogline.ids import random_id
from fogline_hub.api.app import make_app
from fogline_hub.api.operators import Operators
from fogline_hub.api.rooms import Rooms
from fogline_hub.api.server import ApiServer, listen, url_of
from fogline_hub.broker import hash_password
from fogline_hub.catalogue import Catalogue
from fogline_hub.client import HubClient
from fogline_hub.config import HubFolder
from fogline_hub.delivery import Repository, load_operator
from fogline_hub.delivery.operator import OperatorKeys
from fogline_hub.devices import Devices, Endpoints, Enrolment, Tokens
from fogline_hub.hub import initialise
from fogline_hub.lake import Lake
from fogline_hub.registry import BlobBounds, Blobs, Intake, Publication, Registry
from fogline_hub.signer.trust import open_desk

MAX_BLOB_BYTES = 1_000_000


class NoBroker:
    def apply(self) -> None:
        return


@dataclass
class Proofs:
    """Counts what is proven; refuses what it is told to."""

    folders: list[Path] = field(default_factory=list)
    refuse: str = ""

    def __call__(self, folder: Path, manifest: Manifest) -> None:
        self.folders.append(folder)
        for entry in manifest.files:
            data = (folder / entry.path).read_bytes()
            if sha256(data).hexdigest() != entry.sha256:
                raise InvalidInput(f"{entry.path} was laid out wrongly")
        if self.refuse:
            raise InvalidInput(self.refuse)


@dataclass
class HubApi:
    rooms: Rooms
    server: ApiServer
    token: str
    keys: OperatorKeys
    proofs: Proofs

    def client(self, token: str | None = None) -> HubClient:
        return HubClient(self.server.url, self.token if token is None else token)


@pytest.fixture
def hub_api(tmp_path: Path) -> Iterator[HubApi]:
    folder, clock, proofs = HubFolder(tmp_path / "hub"), SystemClock(), Proofs()
    made = initialise(folder, clock)
    catalogue = Catalogue.open(folder.catalogue)
    bound = listen("127.0.0.1:0")
    desk = open_desk(folder.root, clock)
    repository = Repository(folder.tuf, desk, clock)
    devices, tokens, registry = Devices(clock), Tokens(clock=clock, ids=random_id), Registry(clock)
    blobs = Blobs(folder.blobs, BlobBounds(max_blob_bytes=MAX_BLOB_BYTES))
    rooms = Rooms(
        catalogue=catalogue,
        clock=clock,
        endpoints=Endpoints(url=url_of(bound), mqtt_host="127.0.0.1", mqtt_port=1883),
        operators=Operators(clock),
        devices=devices,
        tokens=tokens,
        enrolment=Enrolment(
            catalogue=catalogue,
            devices=devices,
            tokens=tokens,
            keys=desk,
            roots=repository,
            logins=NoBroker(),
            hash_password=hash_password,
            clock=clock,
            ids=random_id,
        ),
        registry=registry,
        blobs=blobs,
        intake=Intake(
            catalogue=catalogue,
            registry=registry,
            blobs=blobs,
            prover=proofs,
            work_folder=folder.jobs / "intake",
        ),
        repository=repository,
        publication=Publication(catalogue=catalogue, registry=registry, repository=repository),
        lake=Lake(folder.lake),
        fleet_changed=threading.Event(),
        run_folder=folder.run,
    )
    server = ApiServer(make_app(rooms), bound)
    server.start()
    try:
        yield HubApi(
            rooms=rooms,
            server=server,
            token=made.token_file.read_text().strip(),
            keys=load_operator(made.operator_folder),
            proofs=proofs,
        )
    finally:
        server.close()
        with suppress(OSError):
            bound.close()
        catalogue.close()
