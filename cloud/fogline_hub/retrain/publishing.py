"""A judged challenger becomes a version: proven, signed with the judge's word, and published.

Each part finds out whether it was done already, so the whole can be repeated after a crash.
"""

from dataclasses import dataclass
from hashlib import sha256

from fogline.bundle import MANIFEST_NAME, Bundle
from fogline.clock import Clock
from fogline.desired import target_path
from fogline.errors import Conflict
from fogline.records import canonical_json
from fogline_hub.delivery import Repository
from fogline_hub.registry import Blobs, Intake, Publication, Version
from fogline_hub.retrain.records import Retraining
from fogline_hub.retrain.store import ACTOR
from fogline_hub.signer import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """The rooms that a version goes through."""

    blobs: Blobs
    intake: Intake
    repository: Repository
    publication: Publication
    clock: Clock

    def publish(self, retraining: Retraining, bundle: Bundle) -> Version:
        """The published version of a challenger that was judged better.

        Raises:
            Conflict: there is no judgement for it.
            Forbidden: no operator lets the hub sign versions of the model.
            InvalidInput: a variant does not hold in its trial.
            Exhausted: more retrained versions than a day allows.
        """
        manifest = (bundle.folder / MANIFEST_NAME).read_bytes()
        for entry in bundle.manifest.files:
            if self.blobs.size(entry.sha256) is None:
                self.blobs.put(entry.sha256, bundle.read_file(entry.path, entry.size_bytes))
        self.blobs.put(bundle.digest, manifest)
        version = self.intake.take(retraining.model, bundle.digest, actor=ACTOR)
        if self.repository.target(target_path(version.model, version.number)) is None:
            self.repository.publish_auto(self._approval(retraining, version, len(manifest)))
        for published in self.publication.settle(actor=ACTOR):
            if published.manifest == version.manifest:
                return published
        return version

    def _approval(self, retraining: Retraining, version: Version, length: int) -> bytes:
        judgement = retraining.judgement
        if judgement is None or not judgement.is_promoted:
            raise Conflict(f"{retraining.subject} has no judgement that approves it")
        approval = Approval(
            model=version.model,
            version=version.number,
            manifest=version.manifest,
            manifest_bytes=length,
            champion=retraining.champion,
            verdict="better",
            evidence=sha256(canonical_json(judgement)).hexdigest(),
            by="judge",
            judged_at=self.clock.now(),
        )
        return canonical_json(approval)
