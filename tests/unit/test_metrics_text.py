"""Metrics as Prometheus's own parser reads them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fogline import __version__
from fogline_edge.serving.calls import FrontCounts
from fogline_edge.serving.exposition import Family, Histogram, expose
from fogline_edge.serving.metrics import Snapshot, render
from fogline_edge.serving.process import ProcessCounts, read_process
from fogline_edge.serving.residency import ResidencyCounts
from fogline_edge.serving.statistics import LATENCY_BOUNDS_US, StackCounts, VersionStatistics
from fogline_edge.serving.versions import VersionStatus
from tests import models
from tests.serving import models_of, served_model

PROCESS = ProcessCounts(
    cpu_s=1.5,
    resident_bytes=70_000_000,
    anonymous_bytes=40_000_000,
    virtual_bytes=10**12,
    threads=3,
    open_files=20,
    max_files=1024,
    started_s=1.7e9,
)

HELD = ResidencyCounts(
    loads=7, failed_loads=1, evictions=2, loaded=4, held_bytes=9_000_000, budget_bytes=10_000_000
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def of(version: VersionStatistics) -> Samples:
    return samples(render(snapshot_of_one(version)))


def snapshot_of_one(version: VersionStatistics | None = None) -> Snapshot:
    return Snapshot(
        versions=[version or VersionStatistics("m", 1)],
        loaded=[],
        index=[VersionStatus(name="a", version=1, state="UNAVAILABLE", reason="x")],
        residency=HELD,
        front=FrontCounts(connections=2, received_calls=9),
        process=PROCESS,
    )


def test_counts_times_and_stacks_are_told_by_version() -> None:
    version = VersionStatistics("m", 3, rows=40, runs=4)
    version.success.count, version.success.ns = 10, 2_500_000_000
    version.queue.ns, version.infer.ns = 1_000_000_000, 500_000_000
    version.failures = {"INVALID_ARGUMENT": 2, "DEADLINE_EXCEEDED": 1}
    version.stacks = {8: StackCounts(runs=3), 16: StackCounts(runs=1), 5000: StackCounts(runs=1)}
    version.latency[0], version.latency[2], version.latency[-1] = 6, 3, 1
    found = of(version)
    m: tuple[tuple[str, str], ...] = (("model", "m"), ("version", "3"))

    assert found["fogline_requests_total", (("code", "OK"), *m)] == 10
    assert found["fogline_requests_total", (("code", "INVALID_ARGUMENT"), *m)] == 2
    assert found["fogline_rows_total", m] == 40
    assert found["fogline_queue_seconds_total", m] == 1
    assert found["fogline_infer_seconds_total", m] == 0.5
    assert found["fogline_request_duration_seconds_sum", m] == 2.5
    assert found["fogline_request_duration_seconds_count", m] == 10
    assert found["fogline_request_duration_seconds_bucket", (("le", "5e-05"), *m)] == 6
    assert found["fogline_request_duration_seconds_bucket", (("le", "10"), *m)] == 9
    assert found["fogline_request_duration_seconds_bucket", (("le", "+Inf"), *m)] == 10
    assert found["fogline_stack_rows_bucket", (("le", "8"), *m)] == 3
    assert found["fogline_stack_rows_bucket", (("le", "1024"), *m)] == 4
    assert found["fogline_stack_rows_count", m] == 5
    assert found["fogline_stack_rows_sum", m] == 8 * 3 + 16 + 5000


def test_the_server_and_the_process_are_told_too() -> None:
    found = of(VersionStatistics("m", 3))
    assert found["fogline_build_info", (("version", __version__),)] == 1
    assert found["fogline_connections", ()] == 2
    assert found["fogline_calls_received_total", ()] == 9
    assert found["fogline_models_budget_bytes", ()] == 10_000_000
    assert found["fogline_model_evictions_total", ()] == 2
    assert found["fogline_model_ready", (("model", "a"), ("version", "1"))] == 0
    assert found["process_resident_memory_bytes", ()] == 70_000_000
    assert found["process_cpu_seconds_total", ()] == 1.5


def test_what_is_in_memory_is_told(tmp_path: Path) -> None:
    known = models_of(served_model(models.save_identity(tmp_path / "m.onnx"), "x", 7))
    snapshot = Snapshot(
        versions=[],
        loaded=known.list(),
        index=known.index(),
        residency=HELD,
        front=FrontCounts(),
        process=read_process(),
    )
    found = samples(render(snapshot))
    x = (("model", "x"), ("version", "7"))
    assert found["fogline_models_loaded", ()] == 1
    assert found["fogline_requests_in_flight", x] == 0
    assert found["fogline_model_ready", x] == 1


def test_every_counter_ends_with_total_and_every_family_has_a_help() -> None:
    text = render(snapshot_of_one())
    families = list(text_string_to_metric_families(text))
    assert len({f.name for f in families}) == len(families) > 20
    for family in families:
        assert family.documentation
        if family.type == "counter":
            assert f"{family.name}_total" in text


def test_the_process_is_read_as_it_is() -> None:
    counts = read_process()
    assert 5_000_000 < counts.anonymous_bytes <= counts.resident_bytes <= counts.virtual_bytes
    assert 3 <= counts.open_files <= counts.max_files
    assert counts.threads >= 1
    assert counts.started_s == pytest.approx(read_process().started_s, abs=1)


@given(st.text(), st.floats(allow_nan=False), st.text(max_size=20))
def test_any_label_and_value_come_back(label: str, value: float, text: str) -> None:
    written = expose([Family("x", "gauge", text, [({"a": label, "b": "2"}, value)])])
    (family,) = text_string_to_metric_families(written)
    (sample,) = family.samples
    assert sample.labels == {"a": label, "b": "2"}
    assert sample.value == value


def test_a_histogram_needs_a_count_above_its_edges() -> None:
    with pytest.raises(ValueError, match="zip"):
        expose([Family("x", "histogram", "", [({}, Histogram((1, 2), (1, 2), 3.0))])])
    assert len(LATENCY_BOUNDS_US) + 1 == len(VersionStatistics("m", 1).latency)
