"""The tracks of all versions, and the names behind the keys in prediction ids.

Requests look tracks up and make them where none is, without waiting for the disk or for the
capture thread. That one writes names down and makes room.
"""

import threading
from collections.abc import Iterator

from fogline.summaries import Reference
from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.ledger import Ledger
from fogline_edge.capture.prediction_ids import model_key
from fogline_edge.capture.track import UNSAMPLED, Track
from fogline_edge.serving.served import ServedModel

Version = tuple[str, int]


class Tracks:
    """By version. Safe to use from any thread, but `excess` and `remove` from one alone."""

    def __init__(self, ledger: Ledger, config: CaptureConfig) -> None:
        self._ledger = ledger
        self._config = config
        self._names = ledger.names()
        self._unwritten: dict[bytes, str] = {}
        self._making = threading.Lock()
        self._writing = threading.Lock()
        self._tracks: dict[Version, Track] = {}

    def __iter__(self) -> Iterator[Track]:
        return iter(tuple(self._tracks.values()))

    def get(self, name: str, version: int) -> Track | None:
        return self._tracks.get((name, version))

    def of(self, served: ServedModel) -> Track:
        """The track of a version, made without samples if no policy was set for it."""
        key = (served.name, served.version)
        track = self._tracks.get(key)
        if track is None:
            with self._making:
                track = self._tracks.get(key)
                if track is None:
                    track = Track(*key, UNSAMPLED, Reference(), self._config)
                    self._put(track)
        return track

    def put(self, track: Track) -> None:
        """Puts a track in the place of the one that may be there."""
        with self._making:
            self._put(track)

    def remove(self, track: Track) -> None:
        with self._making:
            del self._tracks[track.model, track.version]

    def excess(self) -> list[Track]:
        """The tracks beyond the bound, those that were not used for longest."""
        by_use = sorted(self._tracks.values(), key=lambda track: track.used_at)
        return by_use[: max(0, len(by_use) - self._config.max_models)]

    def name_of(self, key: bytes) -> str | None:
        """The model whose key it is, of all that this device has ever served."""
        return self._names.get(key)

    def write_names(self) -> None:
        """Makes sure that the names of all that ever had a track outlive this process.

        Raises:
            Exhausted, Corrupt, Unavailable: the outbox failed; the next call tries again.
        """
        with self._writing:
            new = dict(self._unwritten)
            if new:
                self._ledger.learn(new)
                with self._making:
                    for key in new:
                        del self._unwritten[key]

    def _put(self, track: Track) -> None:
        key = model_key(track.model)
        if key not in self._names:
            self._unwritten[key] = track.model
            self._names[key] = track.model
        self._tracks[track.model, track.version] = track
