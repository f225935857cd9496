"""Models, their numbered versions, aliases, and the blobs that versions are made of."""

from fogline_hub.registry.blobs import BlobBounds, Blobs
from fogline_hub.registry.intake import Intake, Prover
from fogline_hub.registry.publication import Publication
from fogline_hub.registry.records import Alias, Model, State, Version
from fogline_hub.registry.registry import Registry

__all__ = [
    "Alias",
    "BlobBounds",
    "Blobs",
    "Intake",
    "Model",
    "Prover",
    "Publication",
    "Registry",
    "State",
    "Version",
]
