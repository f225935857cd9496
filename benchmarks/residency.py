"""Twenty models in a budget on anonymous memory that holds five, asked at random.

    python -m benchmarks.residency [--quick] [--minutes 10] [--json]

`fogline serve` on a repository of models is asked by several clients, each a random model with a
random number of rows, whose answer is known. Models are chains of square products with random
weights of 10 to 20 MiB (`--quick`: 4 to 8, and a few seconds), every second with its weights in a
file beside it; all are loaded by calls first, each making room for the next.

Memory is measured from outside the server: this process reads `Anonymous` and `Swap` of
`/proc/PID/smaps_rollup`, for which the kernel walks the page tables at that moment, every 20 ms
from the first load on. The base is what the server held when it was ready, without a model. What is
held beside that at any of these moments has to be within the budget; the children in which models
are proved are no part of it.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import numpy as np

from fogline.client import Client
from fogline.errors import FoglineError
from fogline.wire.open_inference_pb2 import RepositoryModelLoadRequest
from fogline.wire.services import INFERENCE_SERVICE

MIB = 2**20
LAYERS = 4
MODELS, HELD = 20, 5
SAMPLE_S = 0.02
SIZES_MIB, QUICK_MIB = (10, 20), (4, 8)
QUICK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """One model that was written, and one answer of it."""

    name: str
    width: int
    megabytes: float
    answer: float
    """First number of the answer to a row of ones."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What clients saw, and what the server says of itself."""

    requests: int = 0
    failures: int = 0
    wrong: int = 0
    ms_p50: float = 0.0
    ms_p99: float = 0.0
    loads: int = 0
    evictions: int = 0
    load_all_s: float = 0.0
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


def save_dense(
    path: Path, name: str, megabytes: float, *, seed: int = 0, external: bool = False
) -> Dense:
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
        name=name,
        width=width,
        megabytes=megabytes,
        answer=float(y[0, 0]),
    )


def save_models(
    folder: Path, count: int = MODELS, sizes_mib: tuple[int, int] = SIZES_MIB
) -> list[Dense]:
    """A repository of models whose weights take from the one to the other of these sizes."""
    found = []
    least, most = sizes_mib
    for i in range(count):
        home = folder / f"m{i}" / "1"
        home.mkdir(parents=True)
        size = least + (most - least) * i / max(count - 1, 1)
        path = home / "model.onnx"
        found.append(save_dense(path, f"m{i}", size, seed=i, external=i % 2 == 1))
    return found


def budget_of(models: Sequence[Dense]) -> int:
    """What `HELD` models of the mean size hold, in bytes."""
    return int(HELD * MIB * sum(m.megabytes for m in models) / len(models))


def measure(
    folder: Path, models: Sequence[Dense], budget_bytes: int, seconds: float, threads: int = 4
) -> Outcome:
    """Serves the models of a folder, asks for them, and watches the server.

    Its base is measured as it starts, without a model; then all are loaded by calls, each
    making room for the next, and then they are asked.
    """
    socket = folder / "s.sock"
    with _serving(folder, budget_bytes, socket) as (pid, address, metrics):
        base = anonymous_bytes(pid)
        watcher = _Watcher(pid)
        watcher.start()
        counts = Counts()
        began = time.perf_counter()
        _load_all(socket, models)
        counts.load_all_s = time.perf_counter() - began
        _ask(address, models, counts, seconds, threads)
        watcher.stop()
        known = _metrics_of(metrics)
        counts.loads = int(known["fogline_model_loads_total"])
        counts.evictions = int(known["fogline_model_evictions_total"])
    return Outcome(
        base_bytes=base,
        budget_bytes=budget_bytes,
        max_bytes=watcher.highest,
        samples=watcher.samples,
        counts=counts,
    )


def anonymous_bytes(pid: int) -> int:
    """Of another process, also what of it was swapped out."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {name: int(value.split()[0]) for name, _, value in (li.partition(":") for li in lines)}
    return (found["Anonymous"] + found.get("Swap", 0)) * 1024


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


@contextmanager
def _serving(folder: Path, budget_bytes: int, socket: Path) -> Iterator[tuple[int, str, str]]:
    """`fogline serve` on the folder: its process, its address, and that of its metrics."""
    command = [
        *(str(Path(sys.executable).with_name("fogline")), "serve", str(folder)),
        *("--model-memory", str(budget_bytes), "--model-control", "explicit"),
        *("--grpc", "127.0.0.1:0", "--unix", str(socket), "--metrics", "127.0.0.1:0"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            found = dict(word.partition("=")[::2] for word in line.split()[1:])
            if "grpc" not in found:
                raise RuntimeError(f"the server did not start: {line!r}")
            yield process.pid, found["grpc"].split(",")[0], found["metrics"]
        finally:
            process.terminate()


def _load_all(socket: Path, models: Sequence[Dense]) -> None:
    for model in models:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            load = channel.unary_unary(f"/{INFERENCE_SERVICE}/RepositoryModelLoad")
            load(RepositoryModelLoadRequest(model_name=model.name).SerializeToString())


def _metrics_of(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def _ask(
    address: str, models: Sequence[Dense], counts: Counts, seconds: float, threads: int
) -> None:
    lock, taken = threading.Lock(), list[float]()
    until = time.perf_counter() + seconds

    def go(seed: int) -> None:
        chance = random.Random(seed)
        with Client(address) as client:
            while time.perf_counter() < until:
                model, rows = chance.choice(models), chance.choice((1, 1, 4, 16))
                x = np.ones((rows, model.width), np.float32)
                failure, is_right = "", False
                began = time.perf_counter()
                try:
                    y = client.predict(model.name, {"x": x}).outputs["y"]
                    is_right = bool(np.allclose(y[:, 0], model.answer, rtol=1e-3, atol=1e-4))
                except FoglineError as e:
                    failure = str(e)
                with lock:
                    taken.append(time.perf_counter() - began)
                    counts.failures += bool(failure)
                    counts.wrong += not failure and not is_right
                    counts.first_failure = counts.first_failure or failure

    askers = [threading.Thread(target=go, args=(seed,)) for seed in range(threads)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    counts.requests = len(taken)
    counts.ms_p50, counts.ms_p99 = (float(v) * 1e3 for v in np.percentile(taken, [50, 99]))


def table(outcome: Outcome) -> str:
    counts, mib = outcome.counts, 1 / MIB
    above = outcome.max_bytes - outcome.base_bytes
    verdict = "within" if outcome.is_within else "PAST"
    return f"""anonymous memory: base {outcome.base_bytes * mib:.1f} MiB, budget \
{outcome.budget_bytes * mib:.1f} MiB
highest above the base: {above * mib:.1f} MiB, {verdict} the budget \
({outcome.samples} readings of smaps_rollup)
{counts.requests} requests, {counts.failures} failed, {counts.wrong} wrong answers; \
p50 {counts.ms_p50:.0f} ms, p99 {counts.ms_p99:.0f} ms
{counts.loads} loads, {counts.evictions} evictions; {counts.load_all_s:.1f} s to load each once
{counts.first_failure and f"first failure: {counts.first_failure}"}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller models, some 20 s in all")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = save_models(Path(folder), sizes_mib=QUICK_MIB if given.quick else SIZES_MIB)
        seconds = QUICK_S if given.quick else given.minutes * 60
        outcome = measure(Path(folder), models, budget_of(models), seconds, given.threads)
    print(json.dumps(asdict(outcome)) if given.json else table(outcome))
    is_right = not outcome.counts.failures and not outcome.counts.wrong
    return 0 if outcome.is_within and is_right else 1


if __name__ == "__main__":
    sys.exit(main())
