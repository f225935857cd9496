"""From an answered request on a device to rows in the lake and an empty outbox, on real parts."""

from pathlib import Path
from random import Random

import numpy as np

from fogline import topics
from fogline.clock import SystemClock, wait_until
from fogline.desired import CapturePolicy
from fogline.mqtt import MqttConfig, MqttConnection
from fogline.summaries import Partial
from fogline.wire.auth import derive_key
from fogline.wire.fleet_pb2 import Summary
from fogline_edge.capture import Capture
from fogline_edge.link import DeviceKeys, Publisher
from fogline_edge.outbox import Outbox
from tests.capturing import SCHEMA, START_US, Device, feedback, reference_of
from tests.ingest_hubs import IngestHub, ingest_hub

__all__ = ["ingest_hub"]

D = "device-a"


class FleetDevice(Device):
    """A device whose outbox is published, on the system's clock."""

    def __init__(self, folder: Path, hub: IngestHub) -> None:
        super().__init__(folder)
        self.stop()
        self.outbox = Outbox.open(folder / "outbox.db")
        self.capture = Capture(self.outbox, folder, clock=SystemClock(), source=Random(4))
        masters = {d: (hub.folder / "keys" / f"{d}.key").read_bytes() for d in ("up", "down")}
        self.keys = DeviceKeys(
            device=D,
            up_key=derive_key(masters["up"], "up", D),
            down_key=derive_key(masters["down"], "down", D),
        )
        self.connection = MqttConnection(
            hub.broker.address,
            login=hub.broker.device_login(D),
            on_message=lambda m: self.publisher.on_ack(m.payload),
            on_connect=self._connected,
            subscriptions=(topics.down(D, "ack"),),
            config=MqttConfig(reconnect_base_s=0.05, reconnect_cap_s=0.2),
        )
        self.publisher = Publisher(self.outbox, self.connection, self.keys)
        self.publisher.start()
        self.connection.start()

    def _connected(self) -> None:
        self.publisher.connected()

    def pending(self) -> int:
        return sum(c.pending for c in self.outbox.counts().values())

    def end(self) -> None:
        self.publisher.stop()
        self.connection.close()
        self.stop()


def test_what_was_served_is_in_the_lake_once_whatever_was_killed_between(
    ingest_hub: IngestHub, tmp_path: Path
) -> None:
    ingest_hub.broker.add(D)
    ingest_hub.start()
    x = np.random.default_rng(0).normal(0, 1, (600, 3)).astype(np.float32)
    reference = reference_of(x)
    device = FleetDevice(tmp_path / "device", ingest_hub)
    device.capture.set_policy("iris", 3, CapturePolicy(sample_rate=0.5), reference, SCHEMA)
    served: list[str] = []

    def serve(part: int) -> None:
        for row in x[part * 200 : (part + 1) * 200]:
            served.append(device.serve(row.reshape(1, 3), event_us=START_US))
            device.capture.feedback(feedback(served[-1], [1]))
            if len(served) % 20 == 0:
                device.capture.flush()

    serve(0)
    assert ingest_hub.child is not None
    ingest_hub.child.kill()
    serve(1)
    ingest_hub.start(wait=False)
    ingest_hub.broker.kill()
    serve(2)
    ingest_hub.broker.start()
    assert wait_until(lambda: device.pending() == 0, timeout_s=60)
    counts = device.outbox.counts()
    device.end()

    for table, stream in (("feedback", "feedback"), ("summaries", "summary")):
        assert set(ingest_hub.seqs(table, D)) == set(range(1, counts[stream].appended + 1))
    assert counts["feedback"].dropped == counts["summary"].dropped == 0
    outcomes = ingest_hub.lake.table("feedback").read(["prediction_id"])["prediction_id"]
    assert sorted(outcomes.to_pylist()) == sorted(served)
    bodies = ingest_hub.lake.table("summaries").read(["body"])["body"].to_pylist()
    partials = [Partial.from_message(Summary.FromString(b), reference) for b in bodies]
    assert sum(p.rows for p in partials) == 600
    assert sum(p.confusion.rows for p in partials) == 600
    sampled = ingest_hub.lake.table("samples-iris").read(["prediction_id", "row", "in.b"])
    ids = sampled["prediction_id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(served)
    assert 230 < len(ids) < 370  # 600 rows at one half; five standard deviations are 61
    place = {prediction_id: n for n, prediction_id in enumerate(served)}
    assert sampled["in.b"].to_pylist() == [float(x[place[i], 1]) for i in ids]
