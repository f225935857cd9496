"""Puts the rooms of the jobs process together; nothing is started here."""

from dataclasses import dataclass

from fogline.clock import Clock
from fogline_hub.catalogue import Catalogue
from fogline_hub.config import HubConfig, HubFolder
from fogline_hub.delivery import Repository
from fogline_hub.delivery.repository import OnlineSigner
from fogline_hub.devices import Devices
from fogline_hub.lake import Lake
from fogline_hub.monitor.alarms import AlarmService
from fogline_hub.registry import Blobs, Intake, Prover, Publication, Registry
from fogline_hub.registry.proof import prove_bundle
from fogline_hub.retrain import store
from fogline_hub.retrain.publishing import Publisher
from fogline_hub.retrain.retrainer import Retrainer
from fogline_hub.retrain.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What the process works on."""

    catalogue: Catalogue
    alarms: AlarmService
    retrainer: Retrainer


def build_jobs(
    folder: HubFolder,
    config: HubConfig,
    signer: OnlineSigner,
    clock: Clock,
    prover: Prover = prove_bundle,
) -> Jobs:
    """Opens a hub's folder for its jobs.

    Raises:
        NotFound: it is no hub's.
        Unsupported, Corrupt, Unavailable: see `Catalogue.open`.
    """
    folder.check()
    catalogue = Catalogue.open(folder.catalogue, config.catalogue)
    registry, blobs = Registry(clock), Blobs(folder.blobs, config.blobs)
    lake = Lake(folder.lake)
    repository = Repository(folder.tuf, signer, clock)
    # A work folder of its own: the API empties the one of pushes when it starts.
    intake = Intake(
        catalogue=catalogue,
        registry=registry,
        blobs=blobs,
        prover=prover,
        work_folder=folder.jobs / "proving",
    )
    intake.sweep()
    publisher = Publisher(
        blobs=blobs,
        intake=intake,
        repository=repository,
        publication=Publication(catalogue=catalogue, registry=registry, repository=repository),
        clock=clock,
    )
    steps = Steps(
        catalogue=catalogue,
        lake=lake,
        registry=registry,
        blobs=blobs,
        devices=Devices(clock),
        publisher=publisher,
        clock=clock,
        config=config.jobs,
    )
    return Jobs(
        catalogue=catalogue,
        alarms=AlarmService(
            catalogue=catalogue,
            lake=lake,
            registry=registry,
            blobs=blobs,
            watches=store.watches,
            clock=clock,
        ),
        retrainer=Retrainer(
            catalogue=catalogue,
            registry=registry,
            steps=steps,
            jobs=folder.jobs,
            clock=clock,
            kept_jobs=config.jobs.kept_jobs,
        ),
    )
