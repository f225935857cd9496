"""A pipeline as residency loads it: nothing is proved, and it holds no memory."""

from collections.abc import Callable, Hashable

from fogline_edge.serving.residency.room import Need
from fogline_edge.serving.served import ServedModel


class PipelineSource:
    """A `residency.Source`; light to import, so that what has no pipelines does not load them."""

    need = Need(is_pipeline=True)

    def __init__(
        self, name: str, version: int, stamp: Hashable, open_: Callable[[], ServedModel]
    ) -> None:
        self.name = name
        self.version = version
        self.stamp = stamp
        self.open = open_

    def prove(self) -> None:
        pass
