import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from fogline import topics
from fogline.clock import ManualClock
from fogline.desired import CapturePolicy, DesiredState
from fogline.errors import Conflict, Corrupt, Forbidden, NotFound, Unsupported
from fogline.ids import random_id
from fogline.records import decode_json
from fogline.wire.auth import derive_key, seal, unseal
from fogline.wire.fleet_pb2 import ACTIVE, REJECTED, Desired, Reported, Signed
from fogline_hub import rollouts
from fogline_hub.catalogue import Catalogue, sql
from fogline_hub.devices import Device, Devices, Tokens
from fogline_hub.registry import Registry, Version
from fogline_hub.rollouts import (
    Controller,
    Event,
    FleetLink,
    Plan,
    State,
    WavePolicy,
    desired,
    reports,
)

MASTER = secrets.token_bytes(32)
DEVICES = ("aa", "bb", "cc")


class KeyedSealer:
    """Seals with a master key, as the signer process does."""

    def __init__(self) -> None:
        self.counter = 0

    def up_key(self, device: str) -> bytes:
        return derive_key(MASTER, "up", device)

    def seal_down(self, device: str, kind: str, body: bytes, ttl_s: float) -> tuple[str, bytes]:
        self.counter += 1
        topic = topics.down(device, kind)
        message = Signed(body=body, counter=self.counter, expires_us=int(ttl_s))
        key = derive_key(MASTER, "down", device)
        return topic, seal(message, key=key, direction="down", topic=topic)


class JumpingClock(ManualClock):
    """Its wall clock can be set, as an operator or NTP does."""

    def set(self, now: datetime) -> None:
        self._now = now


class Fleet:
    """A hub's controller and link, and devices that a test speaks for."""

    def __init__(self, path: Path) -> None:
        self.clock = JumpingClock()
        self.catalogue = Catalogue.open(path)
        self.registry = Registry(self.clock)
        self.devices = Devices(self.clock)
        self.is_connected = True
        self.refused: set[str] = set()
        self.sent: list[tuple[str, bytes]] = []
        self.link = FleetLink(
            catalogue=self.catalogue,
            registry=self.registry,
            sealer=KeyedSealer(),
            publisher=self,
            group_of=lambda _connection, device: "stations" if device in (*DEVICES, "late") else "",
            clock=self.clock,
        )
        self.restart()
        self.counter = 0

    def restart(self) -> None:
        """The hub's process starts anew; its broker is there."""
        self.is_connected = True
        self.controller = Controller(
            catalogue=self.catalogue, registry=self.registry, link=self.link, clock=self.clock
        )

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> None:
        assert qos == 1
        if topic.split("/")[3] in self.refused:
            raise Forbidden("the generation is too far ahead")
        self.sent.append((topic, payload))

    def version(self, digit: str) -> Version:
        with self.catalogue.transaction() as c:
            made = self.registry.add_version(
                c, "rain", digit * 64, actor="operator:t", size_bytes=1, verified=True
            )
            return self.registry.publish(c, "rain", made.number, actor="operator:t")

    def enrol(self, name: str) -> None:
        with self.catalogue.transaction() as c:
            token, _ = Tokens(clock=self.clock, ids=random_id).create(
                c,
                group="stations",
                uses=1,
                life=timedelta(days=1),
                tuf_root="0" * 64,
                actor="operator:t",
            )
            device = Device(
                id=name,
                name=name,
                group="stations",
                shard=0,
                token=token.id,
                enrolled_at=self.clock.now(),
            )
            self.devices.add(c, device, device_key=name, api_secret=name, password_hash="-")

    def revoke(self, name: str) -> None:
        with self.catalogue.transaction() as c:
            self.devices.revoke(c, name, actor="operator:t")

    def deploy(
        self, version: Version, waves: str = "1,100%", policy: WavePolicy | None = None
    ) -> int:
        plan = Plan(
            group="stations",
            waves=rollouts.parse_waves(waves),
            policy=policy or WavePolicy(),
        )
        with self.catalogue.transaction() as c:
            return rollouts.create(
                c,
                version=version,
                plan=plan,
                devices=DEVICES,
                actor="operator:t",
                now=self.clock.now(),
            ).id

    def orders(self) -> dict[str, DesiredState]:
        """What was published since the last call, as each device would read it."""
        found = {}
        for topic, payload in self.sent:
            device = topic.split("/")[3]
            key = derive_key(MASTER, "down", device)
            signed = unseal(Signed, payload, key=key, direction="down", topic=topic)
            order = Desired.FromString(signed.body)
            found[device] = decode_json(order.document, DesiredState, "order")
        self.sent.clear()
        return found

    def report(self, device: str, state: DesiredState, *, rejected: bool = False) -> None:
        self.counter += 1
        message = Reported(generation=state.generation, counter=self.counter, outbox_id="o1")
        for m in state.models:
            message.models.add(
                name=m.name,
                version=m.version,
                state=REJECTED if rejected else ACTIVE,
                reason="too slow" if rejected else "",
            )
        topic = topics.up_state(device)
        key = derive_key(MASTER, "up", device)
        self.link.receive(topic, seal(message, key=key, direction="up", topic=topic))

    def hello(self, device: str) -> None:
        self.counter += 1
        message = Reported(counter=self.counter, outbox_id="o1", want_desired=True)
        topic = topics.up_state(device)
        key = derive_key(MASTER, "up", device)
        self.link.receive(topic, seal(message, key=key, direction="up", topic=topic))

    def steer(self, rollout: int, event: Event) -> None:
        with self.catalogue.transaction() as c:
            rollouts.steer(c, rollout, event, actor="operator:t", now=self.clock.now())

    def show(self, rollout: int) -> rollouts.Rollout:
        with self.catalogue.reading() as c:
            return rollouts.show(c, rollout)

    def desired(self, device: str) -> DesiredState | None:
        with self.catalogue.reading() as c:
            return desired.read(c, device)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "catalogue.db")
    yield made
    made.catalogue.close()


def run_to_end(fleet: Fleet, rollout: int) -> None:
    for _ in range(10):
        fleet.controller.tick()
        for device, state in fleet.orders().items():
            fleet.report(device, state)
        if fleet.show(rollout).ended_at is not None:
            return


def test_a_rollout_moves_one_device_first_then_all(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"))
    fleet.controller.tick()
    canary = fleet.orders()
    assert len(canary) == 1
    fleet.controller.tick()
    assert fleet.orders() == {}
    for device, state in canary.items():
        fleet.report(device, state)
    fleet.controller.tick()
    assert len(fleet.orders()) == 2
    run_to_end(fleet, rollout)
    fleet.clock.advance(6)
    run_to_end(fleet, rollout)
    assert fleet.show(rollout).state is State.SUCCEEDED


def test_a_rejection_stops_the_rollout_and_sends_the_device_back(fleet: Fleet) -> None:
    first = fleet.deploy(fleet.version("1"), "100%")
    run_to_end(fleet, first)
    second = fleet.deploy(fleet.version("2"))
    fleet.controller.tick()
    ((device, state),) = fleet.orders().items()
    assert state.models[0].version == 2
    fleet.report(device, state, rejected=True)
    fleet.controller.tick()
    shown = fleet.show(second)
    assert shown.state is State.STOPPED
    assert "too slow" in shown.reason
    back = fleet.orders()[device]
    assert back.models[0].version == 1
    assert back.generation > state.generation
    assert {d: s.models[0].version for d in DEVICES if (s := fleet.desired(d))} == dict.fromkeys(
        DEVICES, 1
    )


def test_the_first_version_that_fails_leaves_the_device_with_nothing_desired(fleet: Fleet) -> None:
    fleet.deploy(fleet.version("1"))
    fleet.controller.tick()
    ((device, state),) = fleet.orders().items()
    fleet.report(device, state, rejected=True)
    fleet.controller.tick()
    assert fleet.orders()[device].models == ()


def test_a_paused_rollout_waits_and_an_aborted_one_goes_back(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"))
    fleet.controller.tick()
    for event in (Event.PAUSE, Event.RESUME, Event.ABORT):
        with fleet.catalogue.transaction() as c:
            rollouts.steer(c, rollout, event, actor="operator:t", now=fleet.clock.now())
        fleet.controller.tick()
    assert fleet.show(rollout).state is State.ABORTED
    assert all(s.models == () for s in fleet.orders().values())
    with (
        pytest.raises(Conflict, match="aborted and cannot resume"),
        fleet.catalogue.transaction() as c,
    ):
        rollouts.steer(c, rollout, Event.RESUME, actor="operator:t", now=fleet.clock.now())


def test_a_second_rollout_of_the_model_in_the_group_is_refused(fleet: Fleet) -> None:
    version = fleet.version("1")
    fleet.deploy(version)
    with pytest.raises(Conflict, match="has not ended"):
        fleet.deploy(version)


def test_a_newcomer_gets_what_its_group_runs(fleet: Fleet) -> None:
    version = fleet.version("1")
    with fleet.catalogue.transaction() as c:
        desired.set_group(c, "stations", version, CapturePolicy(sample_rate=0.5))
    fleet.hello("aa")
    fleet.controller.tick()
    assert fleet.orders()["aa"].models[0].capture.sample_rate == 0.5


def test_a_device_that_joins_during_a_rollout_is_moved_when_it_has_succeeded(fleet: Fleet) -> None:
    first = fleet.deploy(fleet.version("1"), "100%")
    run_to_end(fleet, first)
    second = fleet.deploy(fleet.version("2"), "100%")
    fleet.controller.tick()
    fleet.hello("late")
    fleet.controller.tick()
    sent = fleet.orders()
    assert sent["late"].models[0].version == 1
    for device, state in sent.items():
        fleet.report(device, state)
    fleet.controller.tick()
    assert fleet.show(second).state is State.SUCCEEDED
    fleet.report("late", sent["late"])
    fleet.controller.tick()
    assert fleet.orders()["late"].models[0].version == 2


def test_a_device_that_is_sent_back_to_nothing_gets_what_its_group_runs(fleet: Fleet) -> None:
    version = fleet.version("1")
    with fleet.catalogue.transaction() as c:
        desired.set_group(c, "stations", version, CapturePolicy())
    rollout = fleet.deploy(fleet.version("2"), "100%")
    fleet.controller.tick()
    fleet.steer(rollout, Event.ABORT)
    sent = fleet.orders()
    assert sent["aa"].models[0].version == 2
    fleet.report("aa", sent["aa"])
    fleet.controller.tick()
    assert fleet.orders()["aa"].models[0].version == 1


def test_a_revoked_device_stops_no_rollout_and_gets_no_orders(fleet: Fleet) -> None:
    for device in DEVICES:
        fleet.enrol(device)
    rollout = fleet.deploy(fleet.version("1"), "100%")
    fleet.controller.tick()
    sent = fleet.orders()
    fleet.report("aa", sent["aa"])
    fleet.report("bb", sent["bb"])
    fleet.revoke("cc")
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.SUCCEEDED
    fleet.clock.advance(60)
    assert fleet.link.send() == 0
    with fleet.catalogue.reading() as c:
        shown = rollouts.progress(c, rollout, now=fleet.clock.now())
    assert [(d.device, d.outcome) for d in shown] == [
        ("aa", "active"),
        ("bb", "active"),
        ("cc", "revoked"),
    ]


def test_a_hub_that_was_down_or_cut_off_does_not_blame_its_devices(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"), "2,100%")
    fleet.controller.tick()
    (device, state), _ = fleet.orders().items()
    fleet.report(device, state)
    for _ in range(40):  # the connection is lost for longer than all bounds
        fleet.is_connected = False
        fleet.clock.advance(30)
        fleet.controller.tick()
    assert fleet.show(rollout).state is State.RUNNING
    fleet.restart()  # and the hub itself
    fleet.clock.advance(1000)
    fleet.restart()
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.RUNNING
    fleet.clock.advance(181)
    fleet.controller.tick()
    shown = fleet.show(rollout)
    assert shown.state is State.STOPPED
    assert "silent for 181 s" in shown.reason


def test_a_clock_that_jumps_ahead_makes_no_device_late(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"))
    fleet.controller.tick()
    fleet.clock.set(fleet.clock.now() + timedelta(days=30))
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.RUNNING


def test_a_clock_that_goes_back_does_not_hold_a_rollout_up(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"))
    fleet.controller.tick()
    fleet.clock.set(fleet.clock.now() - timedelta(days=30))
    fleet.controller.tick()
    for _ in range(61):
        fleet.clock.advance(10)
        fleet.controller.tick()
    assert fleet.show(rollout).state is State.STOPPED


def test_a_rollout_that_cannot_go_on_is_stopped_and_holds_no_other_up(fleet: Fleet) -> None:
    version = fleet.version("1")
    model = desired.desired_model(version, CapturePolicy())
    with fleet.catalogue.transaction() as c, suppress(Unsupported):
        for i in range(1000):  # until there is room for no other
            desired.order(c, "aa", replace(model, name=f"m{i:03d}"), now=fleet.clock.now())
    rollout = fleet.deploy(version, "100%")
    with fleet.catalogue.transaction() as c:
        other = rollouts.create(
            c,
            version=version,
            plan=Plan(group="others"),
            devices=(),
            actor="operator:t",
            now=fleet.clock.now(),
        ).id
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.STOPPED
    assert "split the group" in fleet.show(rollout).reason
    assert fleet.show(other).state is State.SUCCEEDED
    assert fleet.desired("bb") is None


def test_a_device_is_never_told_to_run_more_than_it_can_hold(fleet: Fleet) -> None:
    model = desired.desired_model(fleet.version("1"), CapturePolicy())
    with fleet.catalogue.transaction() as c:
        for i in range(64):
            desired.order(c, "aa", replace(model, name=f"m{i}"), now=fleet.clock.now())
        desired.order(c, "aa", replace(model, name="m7", version=2), now=fleet.clock.now())
        with pytest.raises(Unsupported, match="65 models, a device serves at most 64"):
            desired.order(c, "aa", model, now=fleet.clock.now())


def test_a_document_that_is_refused_holds_no_other_up(fleet: Fleet) -> None:
    fleet.refused = {"aa"}
    fleet.deploy(fleet.version("1"), "100%")
    fleet.controller.tick()
    assert set(fleet.orders()) == {"bb", "cc"}


def test_a_pause_does_not_count_as_soaking(fleet: Fleet) -> None:
    rollout = fleet.deploy(fleet.version("1"), "100%", WavePolicy(soak_s=100, silence_s=1000))
    fleet.controller.tick()
    sent = fleet.orders()
    for device, state in sent.items():
        fleet.report(device, state)
    fleet.controller.tick()
    fleet.steer(rollout, Event.PAUSE)
    fleet.clock.advance(110)
    fleet.steer(rollout, Event.RESUME)
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.RUNNING
    fleet.clock.advance(100)
    fleet.controller.tick()
    assert fleet.show(rollout).state is State.SUCCEEDED


def test_numbers_that_cannot_be_stored_are_refused_as_corrupt(fleet: Fleet) -> None:
    with fleet.catalogue.transaction() as c, pytest.raises(Corrupt, match="counter or generation"):
        reports.receive(c, "aa", Reported(counter=2**63, outbox_id="o"), now=fleet.clock.now())


@pytest.mark.parametrize("forged", ["key", "device", "garbage", "stranger"])
def test_a_report_that_is_not_the_devices_own_changes_nothing(fleet: Fleet, forged: str) -> None:
    device = "zz" if forged == "stranger" else "aa"
    topic = topics.up_state(device)
    key = MASTER if forged == "key" else derive_key(MASTER, "up", device)
    payload = seal(
        Reported(generation=5, counter=1, outbox_id="o"), key=key, direction="up", topic=topic
    )
    if forged == "garbage":
        payload = b"\xff" * 40
    fleet.link.receive(topics.up_state("bb") if forged == "device" else topic, payload)
    with fleet.catalogue.reading() as c:
        assert c.execute(sql.select(sql.METADATA.tables["reported"])).all() == []


def test_an_older_report_never_replaces_a_newer(fleet: Fleet) -> None:
    fleet.counter = 5
    fleet.report("aa", DesiredState(generation=9))
    fleet.counter = 1
    fleet.report("aa", DesiredState(generation=3))
    with fleet.catalogue.reading() as c:
        heard = reports.newest(c, "aa")
    assert heard is not None
    assert heard[0].generation == 9


def test_an_unanswered_order_is_sent_again_ever_more_rarely(fleet: Fleet) -> None:
    fleet.deploy(fleet.version("1"), "100%")
    sent = []
    for _ in range(60):
        fleet.controller.tick()
        sent.append(len(fleet.orders()))
        fleet.clock.advance(1)
    assert sent[0] == 3
    assert [i for i, n in enumerate(sent) if n] == [0, 5, 15, 35]


def test_an_unknown_rollout_is_named(fleet: Fleet) -> None:
    with pytest.raises(NotFound, match="no rollout 7"):
        fleet.show(7)
