"""The benchmarks' load generator against a real server: wrong counts would flatter every figure."""

from pathlib import Path

import pytest

from benchmarks.serving_rig import cache, workloads
from benchmarks.serving_rig.load import Load
from benchmarks.serving_rig.workloads import Workload
from tests.serving import models_of, running, served_model


@pytest.fixture
def mlp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload:
    """Skips where the generator cannot be built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        cache.load_program()
    except cache.Missing as e:
        pytest.skip(str(e))
    return workloads.small_mlp(tmp_path)


def test_every_request_is_sent_once_and_every_answer_judged(mlp: Workload, tmp_path: Path) -> None:
    pool = mlp.pools["varied"].file
    served = served_model(mlp.model, "mlp")
    models = models_of(served)
    with running(models) as address:
        port = int(address.rpartition(":")[2])
        load = Load(
            port, pool, tmp_path / "s", in_flight=8, requests=3000, connections=2, warm_s=0.0
        )
        load.wait_warm()
        load.begin()
        found = load.end()
        counts = next(c for c in models.list() if c.served is served)
    assert (found.requests, found.failed) == (3000, 0)
    assert (counts.requests, counts.failures) == (3000, 0)
    assert found.p50_us <= found.p99_us < 1e6
    assert (tmp_path / "s").stat().st_size > 0
    assert mlp.mistakes(tmp_path / "s", "varied") == []


def test_refusals_are_counted_as_failures(mlp: Workload, tmp_path: Path) -> None:
    with running(models_of(served_model(mlp.model, "another"))) as address:
        port = int(address.rpartition(":")[2])
        pool = mlp.pools["identical"].file
        load = Load(port, pool, tmp_path / "s", in_flight=1, requests=50, warm_s=0.0)
        load.wait_warm()
        load.begin()
        found = load.end()
    assert (found.requests, found.failed) == (50, 50)
