"""Puts the rooms of the API's process together; nothing is started here."""

import threading
from collections.abc import Sequence

from fogline.addresses import Address
from fogline.clock import Clock
from fogline.ids import random_id
from fogline_hub.api.operators import Operators
from fogline_hub.api.rooms import Rooms
from fogline_hub.broker import BrokerUsers, DeviceUser, hash_password
from fogline_hub.catalogue import Catalogue
from fogline_hub.config import HubConfig, HubFolder
from fogline_hub.delivery import Repository
from fogline_hub.devices import Devices, Endpoints, Enrolment, Tokens
from fogline_hub.lake import Lake
from fogline_hub.registry import Blobs, Intake, Publication, Registry
from fogline_hub.registry.proof import prove_bundle
from fogline_hub.signer import SignerClient, socket_path


def build_rooms(folder: HubFolder, config: HubConfig, endpoints: Endpoints, clock: Clock) -> Rooms:
    """Opens a hub's folder for the API.

    Raises:
        NotFound: it is no hub's.
        Unsupported, Corrupt, Unavailable: see `Catalogue.open`.
    """
    folder.check()
    catalogue = Catalogue.open(folder.catalogue, config.catalogue)
    devices, tokens = Devices(clock), Tokens(clock=clock, ids=random_id)
    registry, blobs = Registry(clock), Blobs(folder.blobs, config.blobs)
    signer = SignerClient(socket_path(folder.root), clock=clock)
    repository = Repository(folder.tuf, signer, clock)

    def users() -> Sequence[DeviceUser]:
        with catalogue.reading() as connection:
            return [
                DeviceUser(
                    device=login.device, username=login.device, password_hash=login.password_hash
                )
                for login in devices.logins(connection)
            ]

    broker = str(Address(endpoints.mqtt_host, endpoints.mqtt_port))
    enrolment = Enrolment(
        catalogue=catalogue,
        devices=devices,
        tokens=tokens,
        keys=signer,
        roots=repository,
        logins=BrokerUsers(folder.broker, broker, users, config.broker, clock),
        hash_password=hash_password,
        clock=clock,
        ids=random_id,
    )
    return Rooms(
        catalogue=catalogue,
        clock=clock,
        endpoints=endpoints,
        operators=Operators(clock),
        devices=devices,
        tokens=tokens,
        enrolment=enrolment,
        registry=registry,
        blobs=blobs,
        intake=Intake(
            catalogue=catalogue,
            registry=registry,
            blobs=blobs,
            prover=prove_bundle,
            work_folder=folder.jobs / "intake",
        ),
        repository=repository,
        publication=Publication(catalogue=catalogue, registry=registry, repository=repository),
        lake=Lake(folder.lake),
        fleet_changed=threading.Event(),
        run_folder=folder.run,
    )
