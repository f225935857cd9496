"""A Triton-style folder of models."""

from fogline_edge.serving.repository.folder import is_repository
from fogline_edge.serving.repository.repository import Repository

__all__ = ["Repository", "is_repository"]
