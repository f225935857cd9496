"""The search: which variants are made, screened, measured and chosen, within a time budget.

Each part of the work is a limited child, and each finished part is kept under the digest of the
model, the rows, the settings and the libraries' versions; a search that is killed goes on there.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import msgspec

import fogline
from fogline.errors import DeadlineExceeded, FoglineError
from fogline.records import Record, canonical_json
from fogline.sandbox import Limits, Outcome, Room
from fogline.schema import Schema
from fogline_hub.convert.dataset import DatasetLimits, file_digest
from fogline_hub.convert.job import check_left, run_job
from fogline_hub.optimize.cache import Cache, key_of
from fogline_hub.optimize.choice import (
    Choice,
    Earning,
    choose,
    front,
    judge,
    loss_told,
    with_evidence,
)
from fogline_hub.optimize.handover import (
    ANSWERS,
    BASE,
    MODEL,
    ROW,
    LoadJob,
    LoadReport,
    RaceJob,
    RaceReport,
    RacingModel,
    RowsSource,
    VariantJob,
    VariantReport,
)
from fogline_hub.optimize.measurement import Measurement
from fogline_hub.optimize.observed import Observation, with_observed
from fogline_hub.optimize.profile import Profile
from fogline_hub.optimize.variants import VARIANTS, VariantKind

FORMAT = "4"
"""Changes when finished parts of earlier builds may not be taken over."""
LIBRARIES = ("numpy", "onnx", "onnxruntime", "scipy")

NOTHING_TO_SHRINK = "has no weights that this shrinks"
TRIAL_SHARE = 0.5
"""Of the time that is left: what one variant may spend looking for sensitive nodes."""

R = TypeVar("R", bound=Record)
Progress = Callable[[int, int, str], None]
"""Steps done, steps in all, and what goes on."""


class SearchLimits(Record, frozen=True, kw_only=True):
    """What one search may use."""

    child: Limits = Limits(
        memory_bytes=4 * 2**30, timeout_s=600.0, cpu_s=1200, file_bytes=2**31, network=False
    )
    data: DatasetLimits = DatasetLimits()
    timing_budget_s: float = 0.5
    """Seconds of alternating runs, for each number of threads."""
    budget_s: float = 600.0
    """Of the whole search; when it is spent, no further variant is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched for: paths are absolute."""

    model: Path
    schema: Schema | None
    golden: Path | None
    rows: RowsSource
    earning: Earning
    profile: Profile
    limits: SearchLimits
    observations: Sequence[Observation] = ()


class Found(Record, frozen=True, kw_only=True):
    """What a search found."""

    measurements: tuple[Measurement, ...]
    """The base first."""
    choice: Choice
    pareto: tuple[str, ...]
    data_sha256: str
    host_gflops: float
    is_complete: bool
    """False where the time budget left variants out."""


class _Memory(Record, frozen=True, kw_only=True):
    peak_memory_bytes: int


def run_search(search: Search, cache: Cache, progress: Progress) -> tuple[Found, dict[str, Path]]:
    """Measures the model and its variants.

    Returns:
        What was found, and the model file of each variant that was made, in the cache.

    Raises:
        FoglineError: the base cannot be measured; a variant that cannot is told as such.
    """
    return _Run(search, cache, progress).run()


def platform_text() -> str:
    """What measured: machine and runtime."""
    return (
        f"{platform.system()} {platform.machine()}, onnxruntime {metadata.version('onnxruntime')}"
    )


class _Run:
    """One search under way."""

    def __init__(self, search: Search, cache: Cache, progress: Progress) -> None:
        self._search, self._cache, self._progress = search, cache, progress
        self._ends = time.monotonic() + search.limits.budget_s
        self._steps = len(VARIANTS) + 3
        self._done = 0
        self._identity = _identity(search)
        self._files: dict[str, Path] = {BASE: search.model}
        self._place = Path()
        """Of what the base's child left."""

    def run(self) -> tuple[Found, dict[str, Path]]:
        report, self._place, _ = self._made(BASE)
        found = [self._with_memory(report.measurement)]
        is_complete = True
        for kind in VARIANTS:
            one, was_tried = self._variant(kind, report.applicable)
            is_complete &= was_tried
            found.append(one)
        survivors = [m for m in found if not m.reason]
        raced = self._raced(survivors)
        found = [self._finished(m, raced) for m in found]
        self._tell("choosing")
        decided = _decided(found, self._search)
        self._cache.prune()
        return (
            Found(
                measurements=decided,
                choice=choose(decided, self._search.profile, self._search.earning),
                pareto=tuple(m.name for m in decided if m.is_pareto),
                data_sha256=report.data_sha256,
                host_gflops=raced.gflops,
                is_complete=is_complete,
            ),
            self._files,
        )

    def _variant(self, kind: VariantKind, tried: Sequence[str]) -> tuple[Measurement, bool]:
        """One variant's measurement, and whether there was time for it."""
        nothing = Measurement(name=kind.name, precision=kind.precision, size_bytes=0)
        if kind.name not in tried:
            self._tell(f"passing over {kind.name}")
            return msgspec.structs.replace(nothing, reason=NOTHING_TO_SHRINK), True
        try:
            report, place, is_cached = self._made(kind.name)
        except DeadlineExceeded as e:
            return msgspec.structs.replace(nothing, reason=f"not tried to its end: {e}"), False
        except FoglineError as e:  # a variant may fail for as many reasons as a model has nodes
            return msgspec.structs.replace(nothing, reason=f"cannot be made: {e}"), True
        one = msgspec.structs.replace(report.measurement, is_cached=is_cached)
        if one.reason:
            return one, True
        self._files[kind.name] = place / MODEL
        one = with_evidence(one, self._search.earning)
        if told := loss_told(one, self._search.earning):
            return msgspec.structs.replace(one, reason=told), True
        try:
            return self._with_memory(one), True
        except FoglineError as e:
            return msgspec.structs.replace(one, reason=f"does not load: {e}"), True

    def _made(self, name: str) -> tuple[VariantReport, Path, bool]:
        """A variant of the cache, or made now; raises `DeadlineExceeded` without the time to."""
        self._tell("measuring the model" if name == BASE else f"making {name}")
        key = key_of(self._identity, "variant", name)
        if kept := self._cache.find(key, VariantReport):
            return *kept, True
        job = self._job(name)
        with self._cache.workplace() as place:
            report, _ = self._child("candidate", job, VariantReport, place, must=name == BASE)
            if name != BASE and report.measurement.sha256:
                for file in (MODEL, *report.measurement.external):
                    check_left(place, file)
            return report, self._cache.keep(place, key, report), False

    def _with_memory(self, one: Measurement) -> Measurement:
        """Loads a model once more in a child of its own, whose memory is read from outside."""
        self._tell(f"loading {one.name}", step=False)
        key = key_of(self._identity, "memory", one.name)
        kept = self._cache.find(key, _Memory)
        if kept is None:
            job = LoadJob(
                model=str(self._files[one.name]), row=str(self._place / ROW), prepack=one.prepack
            )
            with self._cache.workplace() as place:
                _, outcome = self._child("load", job, LoadReport, place, must=True)
                memory = _Memory(peak_memory_bytes=outcome.peak_rss_bytes)
                kept = memory, self._cache.keep(place, key, memory)
        return msgspec.structs.replace(one, peak_memory_bytes=kept[0].peak_memory_bytes)

    def _raced(self, survivors: Sequence[Measurement]) -> RaceReport:
        """All that are left, timed in turn."""
        self._tell("timing in turn")
        threads = tuple(sorted({1, self._search.profile.threads}))
        names = [m.name for m in survivors]
        key = key_of(self._identity, "race", *names, *map(str, threads))
        if kept := self._cache.find(key, RaceReport):
            return kept[0]
        job = RaceJob(
            models=tuple(
                RacingModel(name=m.name, path=str(self._files[m.name]), prepack=m.prepack)
                for m in survivors
            ),
            row=str(self._place / ROW),
            threads=threads,
            budget_s=self._search.limits.timing_budget_s,
        )
        with self._cache.workplace() as place:
            report, _ = self._child("race", job, RaceReport, place, must=True)
            self._cache.keep(place, key, report)
        return report

    def _finished(self, one: Measurement, raced: RaceReport) -> Measurement:
        """With its timings, and with what they say of the profile's device."""
        timings = raced.timings.get(one.name)
        profile = self._search.profile
        if not timings:
            return one
        last = timings[-1]
        estimate = None
        if not profile.is_host and profile.peak_gflops_per_core:
            estimate = last.p50 * raced.gflops / profile.peak_gflops_per_core
        one = msgspec.structs.replace(
            one,
            timing=timings[0],
            timing_threads=last if last.threads > 1 else None,
            estimate_us=estimate,
        )
        return with_observed(one, profile.name, self._search.observations)

    def _job(self, name: str) -> VariantJob:
        search = self._search
        return VariantJob(
            kind=name,
            model=str(search.model),
            schema=search.schema,
            golden=str(search.golden) if search.golden else "",
            answers="" if name == BASE else str(self._place / ANSWERS),
            rows=search.rows,
            earning=search.earning,
            profile=search.profile,
            seconds=max((self._ends - time.monotonic()) * TRIAL_SHARE, 1.0),
        )

    def _child(
        self, module: str, job: Record, kind: type[R], place: Path, *, must: bool
    ) -> tuple[R, Outcome]:
        """Runs a child of this room; what must be measured gets its time beyond the budget too."""
        limits = self._search.limits.child
        if not must:
            left = self._ends - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded("the time budget is spent")
            limits = msgspec.structs.replace(limits, timeout_s=min(limits.timeout_s or left, left))
        return run_job(
            f"fogline_hub.optimize.{module}",
            job,
            kind,
            folder=place,
            limits=limits,
            what=self._search.model.name,
            room=Room(scratch=str(place), read=self._readable()),
        )

    def _readable(self) -> tuple[str, ...]:
        """What children are handed: the model and what lies beside it, the rows, and the cache."""
        search = self._search
        files = [search.rows.data, search.rows.sample, str(search.golden or "")]
        folders = [str(search.model.parent), str(self._cache.folder)]
        return tuple(p for p in (*files, *folders) if p)

    def _tell(self, text: str, *, step: bool = True) -> None:
        self._progress(self._done, self._steps, text)
        self._done += step


def _decided(found: Sequence[Measurement], search: Search) -> tuple[Measurement, ...]:
    """With what was kept and why, and which are on the front."""
    base = msgspec.structs.replace(
        with_evidence(found[0], search.earning, is_base=True), is_kept=True, reason="the base"
    )
    judged = [base]
    for one in found[1:]:
        if one.reason or not one.is_measured:
            judged.append(one)
            continue
        is_kept, reason = judge(base, one, search.earning)
        judged.append(msgspec.structs.replace(one, is_kept=is_kept, reason=reason))
    names = set(front([m for m in judged if m.evidence]))
    return tuple(msgspec.structs.replace(m, is_pareto=m.name in names) for m in judged)


def _identity(search: Search) -> str:
    """Digest of all that measurements depend on."""
    rows = search.rows
    files = [search.model, Path(rows.data)]
    files += [Path(rows.sample)] if rows.sample else []
    files += [search.golden] if search.golden else []
    return key_of(
        FORMAT,
        *(file_digest(f) for f in files),
        *(str(f.stat().st_size) for f in _beside(search.model)),
        str(rows.target),
        canonical_json(search.schema).decode(),
        canonical_json(rows.limits).decode(),
        canonical_json(search.earning).decode(),
        canonical_json(search.profile).decode(),
        str(search.limits.timing_budget_s),
        fogline.__version__,
        *(f"{n} {metadata.version(n)}" for n in LIBRARIES),
        platform.platform(),
    )


def _beside(model: Path) -> list[Path]:
    """Files beside a model that may hold its weights."""
    return sorted(p for p in model.parent.iterdir() if p.is_file() and p != model)
