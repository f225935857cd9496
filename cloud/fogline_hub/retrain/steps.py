"""What is done in each state of a retraining; every step can be repeated from its start."""

from dataclasses import dataclass

from fogline.bundle import Manifest, read_bundle
from fogline.clock import Clock
from fogline.errors import Conflict
from fogline.ids import ModelRef
from fogline.records import decode_json
from fogline.summaries import Reference
from fogline_hub import rollouts
from fogline_hub.automation import CHAMPION, Automation, Retrain
from fogline_hub.catalogue import Catalogue
from fogline_hub.config import JobsConfig
from fogline_hub.convert import Conversion, convert
from fogline_hub.devices import Devices
from fogline_hub.lake import Lake
from fogline_hub.monitor.alarms import store as alarms
from fogline_hub.optimize import Optimization, OptimizationLimits, optimize
from fogline_hub.registry import Blobs, Registry, Version
from fogline_hub.registry import State as VersionState
from fogline_hub.retrain import interface, store
from fogline_hub.retrain.champion import lay_out
from fogline_hub.retrain.dataset import Span, Waiting, gather, span_of
from fogline_hub.retrain.folder import JobFolder
from fogline_hub.retrain.publishing import Publisher
from fogline_hub.retrain.records import Retraining, Step
from fogline_hub.retrain.scoring import score
from fogline_hub.retrain.states import Event, State
from fogline_hub.retrain.trainer import saved_model, train
from fogline_hub.rollouts import Plan, Rollout, desired
from fogline_hub.rollouts import State as RolloutState

CHALLENGER = "challenger"
"""The alias of the newest retrained version that won."""
MAX_REFERENCE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The rooms that a retraining passes through."""

    catalogue: Catalogue
    lake: Lake
    registry: Registry
    blobs: Blobs
    devices: Devices
    publisher: Publisher
    clock: Clock
    config: JobsConfig

    def run(
        self, retraining: Retraining, automation: Automation, retrain: Retrain, folder: JobFolder
    ) -> Step | Waiting:
        """Does the step of the state that a retraining stands in; errors end it or are retried."""
        match retraining.state:
            case State.GATHERING:
                return self._gather(retraining, automation, retrain, folder)
            case State.TRAINING:
                train(folder, retrain, self.config.trainer_path)
                return Step(event=Event.DONE)
            case State.CONVERTING:
                return self._convert(retraining, folder)
            case State.JUDGING:
                return self._judge(retraining, retrain, folder)
            case State.PUBLISHING:
                return self._publish(retraining, automation, folder)
            case _:
                return self._follow(retraining)

    # ------------------------------------------------------------- gathering

    def _gather(
        self, retraining: Retraining, automation: Automation, retrain: Retrain, folder: JobFolder
    ) -> Step | Waiting:
        with self.catalogue.reading() as connection:
            watermark_us = alarms.watermark_us(connection, retraining.model)
            champion = self.registry.version(connection, retraining.model, retraining.champion)
        span = span_of(
            watermark_us=watermark_us,
            lateness_s=automation.watch.lateness_s,
            holdout_s=retrain.holdout_s,
            history_s=retrain.history_s,
            change_us=retraining.change_us,
        )
        if not isinstance(span, Span):
            return span
        bundle = lay_out(self.blobs, champion, folder.renew(folder.parent))
        found = gather(
            self.lake,
            bundle.manifest,
            span,
            min_rows=retrain.min_rows,
            max_rows=self.config.max_rows,
            folder=folder,
        )
        return found if isinstance(found, Waiting) else Step(event=Event.DONE, dataset=found)

    # -------------------------------------------------- converting, judging

    def _convert(self, retraining: Retraining, folder: JobFolder) -> Step:
        parent = read_bundle(folder.parent)
        folder.renew(folder.bundle)
        result = convert(
            Conversion(
                source=saved_model(folder),
                sample=folder.sample,
                out=folder.bundle,
                created_at=retraining.created_at,
                name=retraining.model,
                target=interface.ACTUAL,
                holdout=folder.held_out,
                season_s=_season_s(parent.manifest, folder),
            )
        )
        if not result.bundle:
            return Step(event=Event.FAIL, reason=f"conversion: {result.parity.verdict}")
        made = read_bundle(folder.bundle)
        if unlike := interface.difference(parent.manifest.schema, made.manifest.schema):
            return Step(event=Event.FAIL, reason=f"clients could not go on: {unlike}")
        optimize(
            Optimization(
                bundle=folder.bundle,
                data=folder.held_out,
                target=interface.ACTUAL,
                limits=OptimizationLimits(timing_budget_s=self.config.timing_budget_s),
            )
        )
        return Step(event=Event.DONE)

    def _judge(self, retraining: Retraining, retrain: Retrain, folder: JobFolder) -> Step:
        if retraining.dataset is None:
            raise Conflict(f"{retraining.subject} has no dataset")
        judgement = score(folder, retraining.dataset.constant, retrain.alpha)
        event = Event.DONE if judgement.is_promoted else Event.REJECT
        return Step(event=event, reason=judgement.reason, judgement=judgement)

    # ------------------------------------------------ publishing, rolling out

    def _publish(
        self, retraining: Retraining, automation: Automation, folder: JobFolder
    ) -> Step | Waiting:
        with self.catalogue.reading() as connection:
            serving = self.registry.model(connection, retraining.model).aliases.get(CHAMPION)
        if serving != retraining.champion:
            reason = f"judged against version {retraining.champion}, but {serving} serves by now"
            return Step(event=Event.FAIL, reason=reason)
        version = self.publisher.publish(retraining, read_bundle(folder.bundle))
        if version.state is not VersionState.PUBLISHED:
            raise Conflict(f"{version.ref} is signed, but still {version.state.value}")
        try:
            made = self._roll_out(automation, version)
        except Conflict as e:  # another rollout of the model is under way
            return Waiting(reason=str(e))
        return Step(event=Event.DONE, challenger=version.number, rollout=made.id)

    def _roll_out(self, automation: Automation, version: Version) -> Rollout:
        """Makes the rollout, or finds the one that was made before a crash."""
        now, actor = self.clock.now(), store.ACTOR
        with self.catalogue.transaction() as connection:
            for known in rollouts.listing(connection):
                if (known.model, known.number) == (version.model, version.number):
                    return known
            group = automation.group
            self.registry.set_alias(
                connection, version.model, CHALLENGER, version.number, actor=actor
            )
            running = [m for m in desired.group_models(connection, group) if m[0] == version.model]
            if not running:
                raise Conflict(f"no finished rollout of {version.model} in group {group} yet")
            plan = Plan(
                group=group, waves=rollouts.parse_waves(automation.waves), capture=running[0][2]
            )
            found = self.devices.list(connection, group)
            return rollouts.create(
                connection,
                version=version,
                plan=plan,
                devices=[d.id for d in found if d.revoked_at is None],
                actor=actor,
                now=now,
            )

    def _follow(self, retraining: Retraining) -> Step | Waiting:
        """Looks how the rollout goes; promotes the challenger when it has succeeded."""
        if retraining.rollout is None or retraining.challenger is None:
            raise Conflict(f"{retraining.subject} has no rollout")
        with self.catalogue.reading() as connection:
            rollout = rollouts.show(connection, retraining.rollout)
        match rollout.state:
            case RolloutState.SUCCEEDED:
                return Step(event=Event.DONE, reason=f"rollout {rollout.id} succeeded")
            case RolloutState.STOPPED | RolloutState.ABORTED:
                reason = f"rollout {rollout.id} {rollout.state.value}: {rollout.reason}"
                return Step(event=Event.REJECT, reason=reason)
            case _:
                return Waiting(reason=f"rollout {rollout.id} is {rollout.state.value}")


def _season_s(manifest: Manifest, folder: JobFolder) -> float:
    """The champion's season, so that its successor is compared with the same."""
    if not manifest.reference:
        return 0.0
    bundle = read_bundle(folder.parent)
    data = bundle.read_file(manifest.reference, MAX_REFERENCE_BYTES)
    return decode_json(
        data, Reference, f"reference of {ModelRef(manifest.name, alias=CHAMPION)}"
    ).season_s
