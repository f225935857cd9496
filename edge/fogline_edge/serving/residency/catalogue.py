"""Which versions there are, and where each comes from."""

import threading
from collections.abc import Iterable, Mapping, Sequence

from fogline.errors import NotFound
from fogline_edge.serving.residency.source import Key, Source, key_of


class Catalogue:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[Key, Source] = {}

    def get(self, key: Key) -> Source | None:
        with self._lock:
            return self._sources.get(key)

    def keys_of(self, name: str) -> list[Key]:
        """Of a model's versions. Raises `NotFound` where there is none."""
        keys = self._keys_of(name)
        if not keys:
            raise NotFound(f"there is no model {name[:80]!r}")
        return keys

    def known(self, source: Source) -> Source:
        """What is known of the same content, with what its proof found; else this one."""
        there = self.get(key_of(source))
        return source if there is None or there.stamp != source.stamp else there

    def compare(self, name: str, sources: Sequence[Source]) -> tuple[dict[Key, Source], list[Key]]:
        """What a model would get anew if it consisted of these versions, and what it would lose."""
        wanted = {key_of(source): source for source in sources}
        new = {key: source for key, source in wanted.items() if self.get(key) is not source}
        return new, [key for key in self._keys_of(name) if key not in wanted]

    def update(self, sources: Mapping[Key, Source]) -> None:
        with self._lock:
            self._sources.update(sources)

    def drop(self, keys: Iterable[Key]) -> None:
        with self._lock:
            for key in keys:
                self._sources.pop(key, None)

    def _keys_of(self, name: str) -> list[Key]:
        with self._lock:
            return [key for key in self._sources if key[0] == name]
