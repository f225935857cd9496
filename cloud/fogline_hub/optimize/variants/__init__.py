"""Ways to make a model smaller or faster; one module a way, and what none can do is refused."""

from fogline_hub.optimize.variants.catalogue import BASE, VARIANTS, VariantKind, kind_of

__all__ = ["BASE", "VARIANTS", "VariantKind", "kind_of"]
