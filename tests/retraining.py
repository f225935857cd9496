"""A hub that follows a small classifier through an abrupt change: all rooms real, devices scripted.

The concept: `y` is whether `a + b` is positive; from the change on, whether `a - b` is. Rows come
every 20 minutes of event time, from two devices in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fogline.bundle import Bundle, read_bundle
from fogline.clock import SystemClock
from fogline.desired import CapturePolicy, target_path
from fogline.ids import random_id
from fogline.summaries import Partial, Scope
from fogline.wire.fleet_pb2 import ACTIVE, REJECTED, Feedbacks, Reported, Samples
from fogline_hub import rollouts
from fogline_hub.catalogue import Catalogue
from fogline_hub.config import HubConfig, HubFolder, JobsConfig
from fogline_hub.convert import Conversion, convert
from fogline_hub.delivery import delegate_auto, load_operator, sign_target
from fogline_hub.devices import Device, Tokens
from fogline_hub.hub import initialise
from fogline_hub.ingest.batch import Batch
from fogline_hub.ingest.received import Received, digest_of
from fogline_hub.ingest.rows import rows_of
from fogline_hub.jobs.build import Jobs, build_jobs
from fogline_hub.lake import Lake, Source, State
from fogline_hub.monitor.alarms.references import read_reference
from fogline_hub.registry import Version
from fogline_hub.retrain import Automation, Retrain, Retraining, Watch, store
from fogline_hub.rollouts import desired, reports
from fogline_hub.signer.trust import open_desk
from tests.trainers import COLUMNS, fitted

MODEL, GROUP = "sign", "field"
DEVICES = ("dev-a", "dev-b")
START = datetime(2020, 1, 1, tzinfo=UTC)
STEP_US = 20 * 60 * 10**6
DAY_S = 86_400.0
WINDOW_US = 6 * 3600 * 10**6
ROWS_A_DAY = 72
START_US = int(START.timestamp()) * 10**6


def policy(**changes: Any) -> Automation:
    retrain: dict[str, Any] = {
        "trainer": "tests.trainers:train",
        "params": {"seed": 1},
        "history_s": 60 * DAY_S,
        "holdout_s": 5 * DAY_S,
        "min_rows": 300,
        "cooldown_s": 10 * DAY_S,
    } | changes
    watch = Watch(window_s=10 * DAY_S, block_s=DAY_S, lateness_s=DAY_S)
    return Automation(group=GROUP, watch=watch, retrain=Retrain(**retrain))


def concept(rows: NDArray[np.floating[Any]], is_changed: NDArray[np.bool_]) -> NDArray[np.int64]:
    before, after = rows[:, 0] + rows[:, 1] > 0, rows[:, 0] - rows[:, 1] > 0
    return np.where(is_changed, after, before).astype(np.int64)


def convert_first(place: Path) -> Bundle:
    """Trains, converts and packs the first version."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(1200, 3))
    labels = concept(rows, np.zeros(len(rows), dtype=np.bool_))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    joblib.dump(fitted(table[:800], labels[:800], None), place / "model.joblib")
    flipped = np.where(rng.random(len(rows)) < 0.1, 1 - labels, labels)
    for name, part in (("train", slice(0, 800)), ("holdout", slice(800, 1200))):
        columns = {c: rows[part, i] for i, c in enumerate(COLUMNS)}
        pq.write_table(pa.table({**columns, "y": flipped[part]}), place / f"{name}.parquet")
    convert(
        Conversion(
            source=place / "model.joblib",
            sample=place / "train.parquet",
            holdout=place / "holdout.parquet",
            target="y",
            out=place / "bundle",
            created_at=START,
            name=MODEL,
        )
    )
    return read_bundle(place / "bundle")


@pytest.fixture(scope="session")
def first_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return convert_first(tmp_path_factory.mktemp("first"))


@dataclass
class RetrainingHub:
    """A hub in this process; only broker and API are left out."""

    folder: HubFolder
    bundle: Bundle
    """The first version's."""
    jobs_config: JobsConfig = field(default_factory=lambda: JobsConfig(timing_budget_s=0.05))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    rows: int = 0
    """Rows of traffic so far."""
    seq: int = 0
    counter: int = 0

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        made = initialise(self.folder, self.clock)
        self.operator = load_operator(made.operator_folder)
        self.lake = Lake(self.folder.lake)
        self.open()

    def open(self) -> None:
        """Starts the jobs, as after a crash."""
        desk = open_desk(self.folder.root, self.clock)
        config = HubConfig(jobs=self.jobs_config)
        self.jobs: Jobs = build_jobs(self.folder, config, desk, self.clock)
        self.catalogue: Catalogue = self.jobs.catalogue
        self.steps = self.jobs.retrainer._steps
        self.registry, self.publisher = self.steps.registry, self.steps.publisher

    def close(self) -> None:
        self.catalogue.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    # ------------------------------------------------------- the first version

    def first_version(self, automation: Automation | None) -> Version:
        """Trained, converted, signed by the operator, and running on both devices."""
        bundle = self.bundle
        manifest = (bundle.folder / "manifest.json").read_bytes()
        for entry in bundle.manifest.files:
            self.publisher.blobs.put(entry.sha256, (bundle.folder / entry.path).read_bytes())
        self.publisher.blobs.put(bundle.digest, manifest)
        version = self.publisher.intake.take(MODEL, bundle.digest, actor="operator:t")
        repository, now = self.publisher.repository, self.clock.now()
        target = target_path(MODEL, version.number)
        signed = sign_target(repository.current_targets(), self.operator, target, manifest, now=now)
        (published,) = self.publisher.publication.publish(signed, actor="operator:t")
        repository.publish_targets(
            delegate_auto(repository.current_targets(), self.operator, MODEL, now=now)
        )
        with self.catalogue.transaction() as connection:
            self.registry.set_alias(connection, MODEL, "champion", 1, actor="operator:t")
            token, _ = Tokens(clock=self.clock, ids=random_id).create(
                connection, group=GROUP, uses=2, life=timedelta(hours=1), tuf_root="0" * 64,
                actor="operator:t",
            )  # fmt: skip
            for device in DEVICES:
                self._enrol(connection, device, token.id)
            desired.set_group(connection, GROUP, published, CapturePolicy(sample_rate=0.5))
            for device in DEVICES:
                model = desired.desired_model(published, CapturePolicy(sample_rate=0.5))
                desired.order(connection, device, model, now=now)
        if automation is not None:
            self.automate(automation)
        return published

    def automate(self, automation: Automation) -> None:
        with self.catalogue.transaction() as connection:
            store.set_automation(
                connection, MODEL, automation, actor="operator:t", now=self.clock.now()
            )

    def _enrol(self, connection: Any, device: str, token: str) -> None:
        made = Device(
            id=device, name=device, group=GROUP, shard=0, token=token, enrolled_at=self.clock.now()
        )
        self.steps.devices.add(
            connection, made, device_key=device, api_secret=f"s-{device}", password_hash="x"
        )

    # ------------------------------------------------------------------ traffic

    def live(self, days: int, *, is_changed: bool, version: int = 1) -> None:
        """Days of traffic, summarised every six hours; half of it is captured, all has outcomes."""
        with self.catalogue.reading() as connection:
            served = self.registry.version(connection, MODEL, version)
        reference = read_reference(self.publisher.blobs, served)
        count = days * ROWS_A_DAY
        rows = self.rng.normal(size=(count, 3)).astype(np.float32)
        actual = concept(rows, np.full(count, is_changed))
        actual = np.where(self.rng.random(count) < 0.1, 1 - actual, actual)
        predicted = concept(rows, np.full(count, version > 1))
        at = START_US + (self.rows + np.arange(count)) * STEP_US
        self.rows += count
        for n, device in enumerate(DEVICES):
            mine = np.arange(n, count, len(DEVICES))
            self._send(
                device, reference, version, rows[mine], predicted[mine], actual[mine], at[mine]
            )

    def _send(
        self, device: str, reference: Any, version: int,
        rows: NDArray[np.float32], predicted: NDArray[np.int64], actual: NDArray[np.int64],
        at: NDArray[np.int64],
    ) -> None:  # fmt: skip
        summaries, samples, feedback = [], [], Feedbacks()
        for start in np.unique(at // WINDOW_US * WINDOW_US).tolist():
            here = (at // WINDOW_US * WINDOW_US) == start
            scope = Scope(
                model=MODEL, version=version, variant="fp32", generation=3,
                window_start_us=start, window_us=WINDOW_US,
            )  # fmt: skip
            traffic = Partial(reference, scope)
            inputs = {c: rows[here, i] for i, c in enumerate(COLUMNS)}
            traffic.add(
                inputs, {"label": predicted[here]}, requests=int(here.sum()), event_us=at[here]
            )
            labelled = Partial(
                reference,
                Scope(model=MODEL, version=version, window_start_us=start, window_us=WINDOW_US),
            )
            labelled.add_labelled(actual[here], predicted[here])
            summaries += [traffic.to_message(), labelled.to_message()]
        chosen = np.flatnonzero(self.rng.random(len(at)) < 0.5)
        message = Samples(policy="uniform")
        message.scope.CopyFrom(
            Scope(
                model=MODEL, version=version, variant="fp32", generation=3,
                window_start_us=int(at[0]), window_us=WINDOW_US,
            ).to_message()
        )  # fmt: skip
        for i in chosen.tolist():
            key = f"{device}-{at[i]}"
            message.prediction_ids.append(key)
            message.row_in_request.append(0)
            message.event_us.append(int(at[i]))
            message.inclusion_probability.append(0.5)
            feedback.items.add(
                prediction_id=key, row=0, model=MODEL, version=version, event_us=int(at[i]),
                observed_us=int(at[i]), int64_value=int(actual[i]),
            )  # fmt: skip
        for i, name in enumerate(COLUMNS):
            message.inputs.add(name=name, fp32=rows[chosen, i].tolist())
        message.outputs.add(name="label", int64=predicted[chosen].tolist())
        samples.append(message)
        self.store(device, "summary", summaries)
        self.store(device, "sample", samples)
        self.store(device, "feedback", [feedback])

    def store(self, device: str, stream: str, messages: Sequence[Any]) -> None:
        """Puts messages into the lake as ingest does."""
        received_at = self.clock.now()
        writer, batch = None, None
        for message in messages:
            self.seq += 1
            received_at += timedelta(microseconds=1)
            body = message.SerializeToString()
            columns = rows_of(stream, body)
            writer = writer or self.lake.writer(columns.table)
            batch = batch or Batch(writer.schema(), max_columns=100)
            batch.add(
                Received(
                    source=Source(device, "outbox-1", stream), seq=self.seq, floor=1, body=body,
                    body_digest=digest_of(body), received_at=received_at,
                ),
                columns,
            )  # fmt: skip
        if writer is not None and batch is not None:
            writer.append(batch.table(), State())

    # ------------------------------------------------------------------ rollouts

    def roll(self, retraining: Retraining, *, rejected: bool = False) -> None:
        """Controller and devices until the rollout has ended."""
        assert retraining.rollout is not None
        for _ in range(2 + 2 * len(DEVICES)):
            with self.catalogue.transaction() as connection:
                rollout = rollouts.show(connection, retraining.rollout)
                version = self.registry.version(connection, rollout.model, rollout.number)
                while rollouts.rollouts.step(connection, rollout.id, version, now=self.clock.now()):
                    pass
                for device in DEVICES:
                    self._report(connection, device, rejected=rejected)

    def _report(self, connection: Any, device: str, *, rejected: bool) -> None:
        state = desired.read(connection, device)
        assert state is not None
        self.counter += 1
        message = Reported(generation=state.generation, counter=self.counter, outbox_id="o1")
        for m in state.models:
            is_refused = rejected and m.version > 1
            message.models.add(
                name=m.name,
                version=m.version,
                state=REJECTED if is_refused else ACTIVE,
                reason="too slow" if is_refused else "",
            )
        reports.receive(connection, device, message, now=self.clock.now())

    # ------------------------------------------------------------------- reading

    def notice(self) -> None:
        """Looks at what came, and starts what follows from it."""
        self.jobs.alarms.tick()
        self.jobs.retrainer.start_due()

    def newest(self) -> Retraining:
        with self.catalogue.reading() as connection:
            return store.listing(connection)[0]

    def champion(self) -> int:
        with self.catalogue.reading() as connection:
            return self.registry.model(connection, MODEL).aliases["champion"]
