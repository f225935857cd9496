"""Ingest killed at each of its write boundaries, and two of it at once: nothing lost or doubled.

The device repeats what no ack has named, as a real outbox does, and every stored row is counted.
"""

import signal

import pytest

from fogline.clock import wait_until
from fogline.failpoints import POINTS
from fogline.sandbox import Ending
from fogline_hub.ingest import read_counts
from tests.ingest_hubs import (
    IngestHub,
    ScriptedDevice,
    event,
    feedback,
    ingest_hub,
    samples,
)

__all__ = ["ingest_hub"]

D = "device-a"
MESSAGES = 12
ROWS = 3
TABLES = {"event": "events", "sample": "samples-rain", "feedback": "feedback"}


def send_all(device: ScriptedDevice, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        device.send("event", seq, event("tick", seq=str(seq)))
        device.send("sample", seq, samples(rows=ROWS, start=ROWS * seq).SerializeToString())
        device.send("feedback", seq, feedback((f"p{seq}", 1)).SerializeToString())


def repeat_until_acknowledged(device: ScriptedDevice) -> None:
    def is_done() -> bool:
        return not any(device.unacknowledged(stream) for stream in TABLES)

    for _ in range(20):
        for stream in TABLES:
            device.resend(stream)
        if wait_until(is_done, timeout_s=1.0):
            return
    raise AssertionError({s: device.unacknowledged(s) for s in TABLES})


def check_stored_once(hub: IngestHub, last: int) -> None:
    expected = list(range(1, last + 1))
    assert hub.seqs("events", D) == expected
    assert hub.seqs("feedback", D) == expected
    assert hub.seqs("samples-rain", D) == sorted(expected * ROWS)
    assert hub.lake.table("quarantine").read(["seq"]).num_rows == 0


@pytest.mark.parametrize("nth", [1, 5])
@pytest.mark.parametrize("point", [p for p in POINTS if p.startswith("ingest.")])
def test_a_kill_at_a_write_boundary_loses_and_doubles_nothing(
    ingest_hub: IngestHub, point: str, nth: int
) -> None:
    device = ingest_hub.device(D)
    child = ingest_hub.start(failpoint=f"{point}:{nth}")
    sent = 0
    while child.poll() is None and sent < 10 * MESSAGES:
        send_all(device, sent + 1, sent + 2)
        sent += 2
        wait_until(lambda: child.poll() is not None, timeout_s=0.1)
    outcome = child.wait(20)
    assert (outcome.ending, outcome.code) == (Ending.SIGNAL, signal.SIGKILL)
    send_all(device, sent + 1, sent + 2)  # nobody hears these
    ingest_hub.start()
    repeat_until_acknowledged(device)
    check_stored_once(ingest_hub, sent + 2)


def test_a_worker_that_was_taken_over_ends_and_doubles_nothing(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    old = ingest_hub.start()
    send_all(device, 1, 4)
    repeat_until_acknowledged(device)
    old.send(signal.SIGSTOP)
    new = ingest_hub.start()
    send_all(device, 5, MESSAGES)
    repeat_until_acknowledged(device)
    old.send(signal.SIGCONT)  # it has heard the same messages, and now tries to store them
    outcome = old.wait(30)
    assert (outcome.ending, outcome.code) == (Ending.EXITED, 9)
    assert b"taken it over" in outcome.stderr
    send_all(device, MESSAGES + 1, MESSAGES + 2)
    repeat_until_acknowledged(device)
    assert new.poll() is None
    check_stored_once(ingest_hub, MESSAGES + 2)


def test_two_workers_started_together_store_nothing_twice(ingest_hub: IngestHub) -> None:
    """Each takes some tables from the other; whoever finds that ends, maybe both."""
    device = ingest_hub.device(D)
    pair = [ingest_hub.start(wait=False) for _ in range(2)]
    sent = 0
    while not any(child.poll() for child in pair) and sent < 20 * MESSAGES:
        sent += 1
        send_all(device, sent, sent)
        wait_until(lambda: any(child.poll() for child in pair), timeout_s=0.1)
    assert {outcome.code for child in pair if (outcome := child.poll())} == {9}
    for child in pair:
        child.kill()
    ingest_hub.start()
    repeat_until_acknowledged(device)
    check_stored_once(ingest_hub, sent)


def test_a_dead_broker_that_comes_back_is_found_again(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    ingest_hub.start()
    send_all(device, 1, 3)
    ingest_hub.broker.kill()
    ingest_hub.broker.start()
    connection = device.connection
    assert connection is not None
    assert wait_until(lambda: connection.is_connected, timeout_s=20)
    send_all(device, 4, 6)
    repeat_until_acknowledged(device)
    check_stored_once(ingest_hub, 6)


def test_a_dead_signer_delays_acks_and_loses_nothing(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    child = ingest_hub.start()
    ingest_hub.signer.close()
    send_all(device, 1, 2)
    ingest_hub.restart_signer()
    repeat_until_acknowledged(device)
    check_stored_once(ingest_hub, 2)
    assert child.poll() is None


def test_a_lake_that_cannot_be_written_for_a_while_is_tried_again(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    child = ingest_hub.start()
    send_all(device, 1, 2)
    repeat_until_acknowledged(device)
    folder = ingest_hub.folder / "lake" / "feedback"
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("in the way")
    send_all(device, 3, 4)
    run = ingest_hub.folder / "run"
    assert wait_until(lambda: read_counts(run).failed_commits >= 2, timeout_s=20)
    folder.unlink()
    away.rename(folder)
    repeat_until_acknowledged(device)
    assert child.poll() is None
    check_stored_once(ingest_hub, 4)


def test_terminated_ingest_commits_what_it_has(ingest_hub: IngestHub) -> None:
    device = ingest_hub.device(D)
    child = ingest_hub.start()
    send_all(device, 1, 2)
    repeat_until_acknowledged(device)
    outcome = child.terminate(20)
    assert (outcome.ending, outcome.code) == (Ending.EXITED, 0)
    check_stored_once(ingest_hub, 2)
