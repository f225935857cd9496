"""The hub's one transactional store; sole owner of SQLAlchemy."""

from fogline_hub.catalogue.catalogue import Catalogue, CatalogueBounds

__all__ = ["Catalogue", "CatalogueBounds"]
