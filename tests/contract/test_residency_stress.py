"""Requests, loads, unloads, swaps and short memory at once, at random, on real small models.

What must hold at every moment, whatever comes when: the accounts stay within the budget; what a
request acquired answers, and with the number of its own version; everybody who waits is told; and
at the end nothing is left over.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fogline.clock import wait_until
from fogline.errors import Exhausted, FoglineError, NotFound
from fogline_edge.serving.models import Models, NotLoaded
from fogline_edge.serving.residency import Need, Residency, ResidencyConfig
from fogline_edge.serving.residency.pressure import Strain, Verdict
from tests import models as makers
from tests.residents import Answer, FileSource

MIB = 2**20
BUDGET_MIB, MAX_LOADED = 100, 4
NAMES = "abcdef"
SIZES_MIB = dict(zip(NAMES, (10, 20, 25, 30, 40, 50), strict=True))
LONGEST_LOOKS = 200
"""How often a request looks again for a version that left before it could be acquired."""
X = {"x": np.ones((1, 2), np.float32)}


class Seen:
    """What threads found; kept in one place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)


class Bench:
    """Six models, versions 1 to 3 of each, of which some fit together."""

    def __init__(self, folder: Path) -> None:
        self.paths = {n: makers.save_constant(folder / f"{n}.onnx", n) for n in (1, 2, 3)}
        self.models = Models()
        config = ResidencyConfig(
            model_memory_bytes=BUDGET_MIB * MIB,
            reserve=0.05,
            max_loaded=MAX_LOADED,
            make_room_s=5.0,
        )
        self.residency = Residency(self.models, config)
        self.seen = Seen()

    def source(self, name: str, version: int, stamp: int = 0) -> FileSource:
        size = SIZES_MIB[name] * MIB
        need = Need(held_bytes=size, peak_bytes=size)
        source = FileSource(
            self.paths[version], name, version, need=need, stamp=stamp, needs_proof=True
        )
        source.before_open = partial(self.check_room, SIZES_MIB[name])
        return source

    def check_room(self, size_mib: int) -> None:
        """Where a load begins, there is room for it."""
        counts = self.residency.counts()
        if counts.held_bytes + size_mib * MIB > BUDGET_MIB * MIB or counts.loaded >= MAX_LOADED:
            self.seen.fault(f"{counts} when {size_mib} MiB were loaded")

    def request(self, name: str, version: str, chance: random.Random) -> None:
        for _ in range(LONGEST_LOOKS):
            try:
                entry = self.models.acquire(name, version)
            except NotLoaded:
                answer = Answer()
                try:
                    self.models.demand(name, version, answer)
                except NotFound:
                    self.seen.count("gone")
                    return
                error = answer.wait(20)
                if error is not None:
                    self.refused(error)
                    return
                continue
            except NotFound:
                self.seen.count("gone")
                return
            failed = 0
            try:
                for _ in range(chance.choice((1, 1, 5, 50))):
                    found = entry.served.runner.run(X)["y"][0, 0]
                    if found != entry.served.version:
                        self.seen.fault(f"{entry.served.label} answered {found}")
            except FoglineError as e:
                failed = 1
                self.seen.fault(f"{entry.served.label}: {e}")
            finally:
                entry.release(failures=failed)
            self.seen.count("answered")
            return
        self.seen.fault(f"{name}: it left {LONGEST_LOOKS} times before it was acquired")

    def refused(self, error: FoglineError) -> None:
        """A wait may end by an unload, or where all that could leave was in use."""
        if isinstance(error, NotFound | Exhausted | NotLoaded):
            self.seen.count(type(error).__name__)
        else:
            self.seen.fault(repr(error))

    def change(self, chance: random.Random) -> None:
        """One change by an operator; those of one model come from several threads."""
        name, answer = chance.choice(NAMES), Answer()
        match chance.choice((0, 1, 1, 1, 2, 2, 3)):
            case 0:
                self.waited(self.residency.unload, name, answer)
            case 1:
                self.waited(self.residency.load, name, answer)
            case 2:
                stamp = chance.randrange(3)
                versions = sorted(chance.sample((1, 2, 3), chance.choice((1, 1, 2, 3))))
                sources = [self.source(name, v, stamp) for v in versions]
                active = chance.choice((None, versions[0]))
                self.residency.replace(name, sources, answer, active=active)
                self.told(answer)
            case 3:
                strain = chance.choice((Strain.TIGHT, Strain.NONE, Strain.NONE))
                self.residency.relieve(Verdict(strain=strain))

    def waited(self, begin: Callable[[str, Answer], None], name: str, answer: Answer) -> None:
        try:
            begin(name, answer)
        except NotFound:
            return
        self.told(answer)

    def told(self, answer: Answer) -> None:
        error = answer.wait(30)
        if error is None:
            self.seen.count("changed")
        else:
            self.refused(error)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.residency.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_comes_at_once_the_budget_holds_and_every_answer_is_its_versions(
    bench: Bench, seed: int
) -> None:
    for name in NAMES:
        answer = Answer()
        bench.residency.replace(name, [bench.source(name, 1)], answer)
        assert answer.wait() is None
    seen = bench.seen

    def ask(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        for _ in range(40):
            bench.request(chance.choice(NAMES), chance.choice(("", "", "1", "2")), chance)

    def change(number: int) -> None:
        chance = random.Random(seed * 100 + 50 + number)
        for _ in range(12):
            bench.change(chance)

    work = [(ask, n) for n in range(6)] + [(change, n) for n in range(3)]
    threads = [threading.Thread(target=guarded(seen, *w), daemon=True) for w in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert seen.faults == []
    assert seen.counts["answered"] > 30, seen.counts
    assert seen.counts["changed"] > 10, seen.counts
    # Nothing is left over: all leave, and then nothing is held.
    answers = [Answer() for _ in NAMES]
    for name, answer in zip(NAMES, answers, strict=True):
        bench.residency.replace(name, (), answer)
    assert [a.wait() for a in answers] == [None] * len(NAMES)
    assert wait_until(lambda: bench.residency.counts().held_bytes == 0, timeout_s=10)
    assert bench.models.index() == ()
    assert bench.models.list() == ()


def guarded(seen: Seen, work: Callable[[int], None], number: int) -> Callable[[], None]:
    def run() -> None:
        try:
            work(number)
        except BaseException as e:
            seen.fault(repr(e))
            raise

    return run
