"""ONNX Runtime alone, in a process of its own: what a model costs without a server.

    python -m benchmarks.serving_rig.raw MODEL INPUT ROWS.npz THREADS SECONDS REQUESTS

Each of THREADS threads runs one session with one intra-op thread over the given requests, until
SECONDS are over or REQUESTS, if not 0, are done by all. Prints JSON with the same keys as the load
generator, and the CPU seconds.
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from fogline.tensors import Array

WARM_S = 0.3


def main() -> None:
    model, name, file, threads, seconds, requests = sys.argv[1:]
    with np.load(Path(file)) as data:
        rows = [data[key] for key in data]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    workers = [
        Worker(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]), name, rows)
        for _ in range(int(threads))
    ]
    for worker in workers:
        worker.run(itertools.count(), WARM_S, 1 << 62)
        worker.took.clear()
    order = itertools.count()  # shared, so that a number of requests is done once by all together
    last = int(requests) or 1 << 62
    began, cpu = time.perf_counter(), time.process_time()
    running = [threading.Thread(target=w.run, args=(order, float(seconds), last)) for w in workers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    each = np.concatenate([np.asarray(w.took) for w in workers])
    found = {
        "requests": len(each),
        "failed": 0,
        "seconds": time.perf_counter() - began,
        "p50_us": float(np.quantile(each, 0.5)) * 1e6,
        "p99_us": float(np.quantile(each, 0.99)) * 1e6,
        "cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(found))


class Worker:
    """One session; `took` holds the seconds of each run."""

    def __init__(self, session: ort.InferenceSession, name: str, rows: list[Array]) -> None:
        self._session = session
        self._name = name
        self._rows = rows
        self._outputs = [o.name for o in session.get_outputs()]
        self.took: list[float] = []

    def run(self, order: Iterator[int], seconds: float, requests: int) -> None:
        before = time.perf_counter()
        end = before + seconds
        while before < end and (i := next(order)) < requests:
            self._session.run(self._outputs, {self._name: self._rows[i % len(self._rows)]})
            after = time.perf_counter()
            self.took.append(after - before)
            before = after


if __name__ == "__main__":
    main()
