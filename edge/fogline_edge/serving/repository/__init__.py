"""A Triton-style folder of models."""

from fogline_edge.serving.repository.folder import is_repository
from fogline_edge.serving.repository.repository import Repository
from fogline_edge.serving.repository.shelf import Shelf

__all__ = ["Repository", "Shelf", "is_repository"]
