"""The installer's memory: what a start makes of the marks that it finds, and what is kept."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline.clock import ManualClock
from fogline.errors import Corrupt
from fogline.records import canonical_json, decode_json
from fogline_edge.install.attempts import AttemptBounds, settle
from fogline_edge.install.ledger import Ledger
from fogline_edge.install.machine import LinuxMachine
from fogline_edge.install.state import (
    MAX_REJECTIONS,
    Candidate,
    InstallState,
    Marker,
    ModelState,
    StateFile,
)
from tests.devices import Machine

NOW = datetime(2026, 3, 1, tzinfo=UTC)
A, B = "a" * 64, "b" * 64
BOUNDS = AttemptBounds(crashes=2, power_losses=3, probation_s=10)


def candidate(digest: str, version: int = 1, *, is_confirmed: bool = False) -> Candidate:
    return Candidate(
        version=version, digest=digest, variant="fp32", generation=1, is_confirmed=is_confirmed
    )


def marker(digest: str, phase: str = "serve", boot: str = "boot-1") -> Marker:
    return Marker(digest=digest, phase=phase, boot_id=boot)  # type: ignore[arg-type]


def settled(state: InstallState, boot: str = "boot-1") -> InstallState:
    return settle(state, boot_id=boot, agent_version="1", now=NOW, bounds=BOUNDS)


def model(name: str, active: Candidate, mark: Marker | None) -> ModelState:
    return ModelState(name=name, active=active, marker=mark)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(
        StateFile(tmp_path / "installed.json"),
        clock=ManualClock(NOW),
        machine=Machine(),
        agent_version="1",
        bounds=BOUNDS,
    )
    made.open()
    return made


def test_without_marks_nothing_is_counted() -> None:
    state = InstallState(models=(model("m", candidate(A), None),))
    assert settled(state) == state


def test_a_mark_of_this_boot_is_a_crash_and_of_another_a_power_loss() -> None:
    state = InstallState(models=(model("m", candidate(A), marker(A)),))
    assert settled(state).get("m").strikes_of(A).crashes == 1
    assert settled(state, "boot-2").get("m").strikes_of(A).power_losses == 1
    assert settled(state).get("m").marker is None


def test_strikes_of_both_kinds_are_counted_apart() -> None:
    state = InstallState(models=(model("m", candidate(A), marker(A)),))
    for boot in ("boot-1", "boot-2", "boot-2"):
        current = state.get("m")
        state = settled(state.put(model("m", candidate(A), marker(A)).with_strikes(
            current.strikes_of(A))), boot)  # fmt: skip
    assert state.get("m").rejection(A, "1") is None
    assert state.get("m").strikes_of(A).crashes == 1
    assert state.get("m").strikes_of(A).power_losses == 2


@pytest.mark.parametrize("phase", ["qualify", "activate", "serve"])
def test_the_unproved_take_the_blame(phase: str) -> None:
    state = InstallState(
        models=(
            model("good", candidate(A, is_confirmed=True), marker(A)),
            model("new", candidate(B), marker(B, phase)),
        )
    )
    after = settled(state)
    assert after.get("good").strikes == ()
    assert after.get("new").strikes_of(B).crashes == 1


def test_the_proved_take_it_when_there_is_nobody_else() -> None:
    state = InstallState(models=(model("good", candidate(A, is_confirmed=True), marker(A)),))
    assert settled(state).get("good").strikes_of(A).crashes == 1


def test_candidates_are_the_active_one_then_the_good_one_without_the_rejected() -> None:
    both = ModelState(name="m", active=candidate(A, 2), good=candidate(B, 1))
    assert [c.digest for c in both.candidates("1")] == [A, B]
    state = InstallState(models=(model("m", candidate(A), marker(A)).with_strikes(
        model("m", candidate(A), None).strikes_of(A)),))  # fmt: skip
    for _ in range(2):
        state = settled(state.put(ModelState(
            name="m", active=candidate(A, 2), good=candidate(B, 1), marker=marker(A),
            strikes=state.get("m").strikes)))  # fmt: skip
    assert [c.digest for c in state.get("m").candidates("1")] == [B]
    assert [c.digest for c in state.get("m").candidates("2")] == [A, B]


def test_rejections_are_bounded_and_the_oldest_goes_first(ledger: Ledger) -> None:
    digests = [f"{i:064x}" for i in range(MAX_REJECTIONS + 1)]
    for digest in digests:
        ledger.reject("m", digest, 1, "x" * 9000)
    assert ledger.rejection("m", digests[0]) is None
    assert ledger.rejection("m", digests[1]) is not None


def test_every_change_is_on_the_disk_at_once(ledger: Ledger, tmp_path: Path) -> None:
    ledger.mark("m", A, "qualify")
    ledger.activated("m", candidate(A))
    ledger.reject("m", B, 1, "no")
    on_disk = StateFile(tmp_path / "installed.json").load()
    assert on_disk.get("m") == ledger.get("m")
    assert on_disk.get("m").marker == marker(A)


def test_only_a_confirmed_version_is_kept_to_go_back_to(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    ledger = Ledger(
        StateFile(tmp_path / "installed.json"),
        clock=clock,
        machine=Machine(),
        agent_version="1",
        bounds=BOUNDS,
    )
    ledger.open()
    ledger.activated("m", candidate(A, 1))
    ledger.activated("m", candidate(B, 2))
    assert ledger.get("m").good is None
    clock.advance(11)
    ledger.confirm_due()
    ledger.activated("m", candidate(A, 3))
    good = ledger.get("m").good
    assert good is not None
    assert (good.version, good.is_confirmed) == (2, True)
    assert not ledger.drop_good("m"), "the active one has not proved itself"


def test_a_failed_write_is_not_believed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.activated("m", candidate(A))
    before = ledger.get("m")
    (tmp_path / ".installed.json.new").mkdir()
    with pytest.raises(OSError, match="installed"):
        ledger.reject("m", A, 1, "no")
    assert ledger.get("m") == before


@given(st.binary(max_size=300))
def test_a_state_file_reads_or_is_corrupt(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "installed.json"
        path.write_bytes(data)
        try:
            StateFile(path).load()
        except Corrupt:
            return


names = st.sampled_from(["rain", "snow", "wind"])
digests = st.sampled_from([A, B, "c" * 64])
candidates = st.builds(
    Candidate,
    version=st.integers(1, 9),
    digest=digests,
    variant=st.just("fp32"),
    generation=st.integers(1, 9),
    is_confirmed=st.booleans(),
)
models = st.builds(
    ModelState,
    name=names,
    active=st.none() | candidates,
    good=st.none() | candidates,
    marker=st.none()
    | st.builds(
        Marker,
        digest=digests,
        phase=st.sampled_from(["qualify", "activate", "serve"]),
        boot_id=st.sampled_from(["boot-1", "boot-2"]),
    ),
)


@given(st.lists(models, max_size=3, unique_by=lambda m: m.name))
def test_settling_takes_every_mark_off_and_loses_no_version(found: list[ModelState]) -> None:
    state = InstallState(models=tuple(sorted(found, key=lambda m: m.name)))
    after = settled(state)
    assert all(m.marker is None for m in after.models)
    assert [(m.name, m.active, m.good) for m in after.models] == [
        (m.name, m.active, m.good) for m in state.models
    ]
    assert settled(after) == after
    assert decode_json(canonical_json(after), InstallState, "state") == after


def test_this_machine_says_what_it_is() -> None:
    machine = LinuxMachine()
    assert len(machine.boot_id()) == 36
    assert 0 < machine.available_memory() <= machine.total_memory()
