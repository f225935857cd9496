"""Twenty models in a budget on anonymous memory that holds five, asked at random.

    python -m benchmarks.residency [--minutes 10] [--json]

A process that holds the models as a server does (proved in children, loaded on demand, the least
recently used let go) is asked by several threads, each a random model with a random number of rows,
whose answer is known. Its memory is measured from outside, by `smaps_rollup`, every 50 ms: nothing
is believed of what it says itself but the counts. The base is what it holds before the first load.
Models are chains of square products with random weights of 10 to 20 MiB, every second with its
weights in a file beside it.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fogline.allocator import use_one_heap

MIB = 2**20
LAYERS = 4
MODELS, HELD = 20, 5
SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """One model that was written, and one answer of it."""

    name: str
    path: str
    width: int
    megabytes: float
    answer: float
    """First number of the answer to a row of ones."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the process that held the models says of itself."""

    requests: int = 0
    failures: int = 0
    wrong: int = 0
    waits: int = 0
    """Requests that found their model not in memory."""
    loads: int = 0
    evictions: int = 0
    prove_s: float = 0.0
    wait_ms_p50: float = 0.0
    wait_ms_p99: float = 0.0
    first_failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    base_bytes: int
    budget_bytes: int
    max_bytes: int
    """Highest anonymous memory that was seen."""
    samples: int
    counts: Counts

    @property
    def is_within(self) -> bool:
        return self.max_bytes <= self.base_bytes + self.budget_bytes


def save_dense(path: Path, megabytes: float, *, seed: int = 0, external: bool = False) -> Dense:
    """Writes `y = x @ w0 @ w1 @ w2 @ w3` for FP32 [-1, width], weights of this size in all."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width = int((megabytes * MIB / 4 / LAYERS) ** 0.5)
    generator = np.random.default_rng(seed)
    names = ["x", *(f"h{i}" for i in range(LAYERS - 1)), "y"]
    y = np.ones((1, width), np.float32)
    nodes, weights = [], []
    for i in range(LAYERS):
        weight = generator.standard_normal((width, width), dtype=np.float32) / width**0.5
        y = y @ weight
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]))
    sides = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, width))] for name in "xy"
    )
    graph = helper.make_graph(nodes, "dense", *sides, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    beside = f"{path.name}.data"
    onnx.save(model, path, save_as_external_data=external, location=beside, size_threshold=0)
    return Dense(
        name=path.stem,
        path=str(path),
        width=width,
        megabytes=megabytes,
        answer=float(y[0, 0]),
    )


def save_models(folder: Path, count: int = MODELS) -> list[Dense]:
    """Models of 10 to 20 MiB, each in a folder of its own."""
    found = []
    for i in range(count):
        home = folder / f"m{i}"
        home.mkdir()
        size = 10 + 10 * i / max(count - 1, 1)
        found.append(save_dense(home / f"m{i}.onnx", size, seed=i, external=i % 2 == 1))
    return found


def measure(models: Sequence[Dense], budget_bytes: int, seconds: float, threads: int) -> Outcome:
    """Runs the process that holds the models, and watches it."""
    request = {
        "models": [asdict(m) for m in models],
        "budget_bytes": budget_bytes,
        "seconds": seconds,
        "threads": threads,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.residency", "--child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("the process that holds the models did not start")
        base = anonymous_bytes(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        watcher = _Watcher(child.pid)
        watcher.start()
        counts = Counts(**json.loads(child.stdout.readline()))
        watcher.stop()
        child.stdin.close()
    return Outcome(
        base_bytes=base,
        budget_bytes=budget_bytes,
        max_bytes=watcher.highest,
        samples=watcher.samples,
        counts=counts,
    )


def anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


class _Watcher(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._stopped = threading.Event()
        self.highest = self.samples = 0

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.highest = max(self.highest, anonymous_bytes(self._pid))
            self.samples += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


# ------------------------------------------------- the process that holds the models


def hold() -> int:
    """Reads what to hold from stdin, says `ready`, waits for a line, and prints its counts."""
    use_one_heap()
    from fogline.runtime.interrupt import Watchdog
    from fogline_edge.serving.loading import Loading, source_of
    from fogline_edge.serving.models import Models
    from fogline_edge.serving.residency import MemoryWatch, Residency, ResidencyConfig

    request = json.loads(sys.stdin.readline())
    dense = [Dense(**m) for m in request["models"]]
    loading = Loading(watchdog=Watchdog())
    sources = [source_of(Path(m.path), loading, name=m.name) for m in dense]
    models = Models()
    residency = Residency(models, ResidencyConfig(model_memory_bytes=request["budget_bytes"]))
    watch = MemoryWatch(residency)
    watch.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for source in sources:
        source.prove()
    counts = Counts(prove_s=time.perf_counter() - began)
    residency.offer(sources)
    _ask(models, dense, counts, request["seconds"], request["threads"])
    known = residency.counts()
    counts.loads, counts.evictions = known.loads, known.evictions
    watch.close()
    residency.close()
    print(json.dumps(asdict(counts)), flush=True)
    return 0


def _ask(models: Any, dense: Sequence[Dense], counts: Counts, seconds: float, threads: int) -> None:
    lock, waits = threading.Lock(), []
    until = time.perf_counter() + seconds

    def go(seed: int) -> None:
        chance = random.Random(seed)
        while time.perf_counter() < until:
            model = chance.choice(dense)
            waited, failure, is_right = _one(models, model, chance.choice((1, 1, 4, 16)))
            with lock:
                counts.requests += 1
                counts.failures += bool(failure)
                counts.wrong += not failure and not is_right
                counts.first_failure = counts.first_failure or failure
                if waited:
                    waits.append(waited)

    askers = [threading.Thread(target=go, args=(seed,)) for seed in range(threads)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    counts.waits = len(waits)
    if waits:
        counts.wait_ms_p50, counts.wait_ms_p99 = (
            float(v) * 1e3 for v in np.percentile(waits, [50, 99])
        )


def _one(models: Any, model: Dense, rows: int) -> tuple[float, str, bool]:
    """One request: seconds that it waited for a load, why it failed, whether it was right."""
    from fogline.errors import FoglineError
    from fogline_edge.serving.models import NotLoaded

    began, waited = time.perf_counter(), 0.0
    try:
        while True:
            try:
                entry = models.acquire(model.name)
                break
            except NotLoaded:
                told, errors = threading.Event(), list[FoglineError | None]()

                def then(
                    error: FoglineError | None,
                    told: threading.Event = told,
                    errors: list[FoglineError | None] = errors,
                ) -> None:
                    errors.append(error)
                    told.set()

                models.demand(model.name, "", then)
                told.wait()
                if errors[0] is not None:
                    raise errors[0] from None
                waited = time.perf_counter() - began
        try:
            y = entry.served.runner.run({"x": np.ones((rows, model.width), np.float32)})["y"]
        finally:
            entry.release()
    except FoglineError as e:
        return waited, str(e), False
    return waited, "", bool(np.allclose(y[:, 0], model.answer, rtol=1e-3, atol=1e-4))


def table(outcome: Outcome) -> str:
    counts, mib = outcome.counts, 1 / MIB
    above = outcome.max_bytes - outcome.base_bytes
    verdict = "within" if outcome.is_within else "PAST"
    return f"""anonymous memory: base {outcome.base_bytes * mib:.1f} MiB, budget \
{outcome.budget_bytes * mib:.1f} MiB
highest above the base: {above * mib:.1f} MiB, {verdict} the budget ({outcome.samples} samples)
{counts.requests} requests, {counts.failures} failed, {counts.wrong} wrong answers
{counts.waits} waited for a load: p50 {counts.wait_ms_p50:.0f} ms, p99 {counts.wait_ms_p99:.0f} ms
{counts.loads} loads, {counts.evictions} evictions; {counts.prove_s:.1f} s to prove all before
{counts.first_failure and f"first failure: {counts.first_failure}"}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return hold()
    with tempfile.TemporaryDirectory() as folder:
        models = save_models(Path(folder))
        mean = sum(m.megabytes for m in models) / len(models)
        budget = int(HELD * mean * MIB)
        outcome = measure(models, budget, given.minutes * 60, given.threads)
    print(json.dumps(asdict(outcome)) if given.json else table(outcome))
    return 0 if outcome.is_within and not outcome.counts.failures else 1


if __name__ == "__main__":
    sys.exit(main())
