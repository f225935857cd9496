"""The limited child in which a model is proved: `python -m fogline.runtime.qualify`.

Reads a `ProofRequest` as JSON from stdin, says on stdout at which stage it is, a line each, and its
`Qualification` as one line of JSON: once when the model holds, and again when its plan was chosen.
Whatever the model does to this process, ends this process alone. A model that takes this process
over could lie about itself; what it cannot do is serve, because nothing of it runs outside.
"""

import gc
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

from msgspec.structs import replace

from fogline.allocator import use_one_heap
from fogline.bundle import GoldenCase, check_file, decode_cases
from fogline.errors import (
    Corrupt,
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    Unsupported,
    Untrusted,
)
from fogline.records import MAX_JSON_BYTES, canonical_json, decode_json
from fogline.runtime.bounds import undeclared_bounds
from fogline.runtime.choosing import Opened, Search, better_trials
from fogline.runtime.fingerprint import fingerprint
from fogline.runtime.fit import schema_misfit
from fogline.runtime.golden import check_golden
from fogline.runtime.graph import FATAL_WITHOUT_ELEMENTS, GraphFacts, inspect_graph
from fogline.runtime.measure import Latency, measure_latency, model_size_bytes
from fogline.runtime.memory import Growth, own_peak_bytes
from fogline.runtime.plan import ModelPlan
from fogline.runtime.qualification import ProofRequest, Qualification, Reason, Stage
from fogline.runtime.rows import RowVerdict, judge_rows
from fogline.runtime.session import Session
from fogline.runtime.trial import Rehearsal, Subject, measure_alone, rehearse, warm_up
from fogline.wire.onnx_model_pb2 import Model

SAYS_STAGE = b"stage "
SAYS_RESULT = b"result "

Say = Callable[[bytes], object]


class _Refused(Exception):
    """A verdict that is no error of its own."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_REASONS: tuple[tuple[type[FoglineError], Reason], ...] = (
    (Untrusted, "digest"),
    (DeadlineExceeded, "hung"),
    (Unsupported, "unsupported_operator"),
    (FoglineError, "malformed"),
)
"""The first row that an error is an instance of decides."""

_RECURRENT = FATAL_WITHOUT_ELEMENTS | {"RNN"}
"""A device risks none of their kind."""


class Proof:
    """One proof under way: what is known so far, for whatever ends it."""

    def __init__(self, request: ProofRequest, say: Say) -> None:
        self._request = request
        self._say = say
        self._model = Path(request.model)
        self._began = time.monotonic()
        self._peak = 0
        self._asked = request.plan
        self.found = Qualification()

    def run(self) -> Qualification:
        """Proves the model; every error that Fogline knows is a verdict."""
        try:
            facts, verdict = self._check()
            subject = self._subject(facts, verdict)
            self._asked = replace(self._asked, takes_empty=not _RECURRENT & facts.operators.keys())
            session, growth = self._load(self._asked)
            self._hold_to_schema(session)
            self._hold_to_cases(session, subject.cases)
            self._measure(session, growth, subject)
        except _Refused as e:
            self._note(reason=e.reason, detail=str(e)[:2000])
        except FoglineError as e:
            self._note(reason=self._reason(e), detail=str(e)[:2000])
        except OSError as e:
            self._note(reason="malformed", detail=f"{e.filename}: {e.strerror}")
        except MemoryError:
            self._note(reason="too_much_memory", detail="no more memory was to be had")
        if not self.found.peak_memory_bytes:
            self._note_peak()
        return self.found

    def _check(self) -> tuple[GraphFacts, RowVerdict]:
        self._enter("checking")
        request = self._request
        if request.model_sha256:
            _check_digest(self._model, request.model_sha256)
        for entry in request.files:
            check_file(Path(request.folder) / entry.path, entry)
        sizes = {}
        for location in request.external_data:
            status = (self._model.parent / location).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise Corrupt(f"external data {location}: not a regular file with one link")
            sizes[location] = status.st_size
        facts = inspect_graph(self._model, external_data=sizes, bounds=request.budgets.graph)
        paths = (self._model.parent / location for location in facts.external_data)
        self._note(
            nodes=facts.nodes,
            size_bytes=model_size_bytes(self._model, paths),
            external_data=facts.external_data,
        )
        lack = undeclared_bounds(facts, request.schema)
        if lack:
            raise _Refused("unbounded", lack)
        return facts, judge_rows(Model.FromString(self._model.read_bytes()))

    def _subject(self, facts: GraphFacts, verdict: RowVerdict) -> Subject:
        request = self._request
        cases: tuple[GoldenCase, ...] = ()
        if request.golden:
            path = Path(request.golden)
            cases = decode_cases(path.read_bytes(), path.name)
        return Subject(
            cases=cases,
            verdict=verdict,
            operators=facts.operators.keys(),
            is_sized=bool(facts.needs),
            effort=request.budgets.effort,
            run_s=request.budgets.run_s,
        )

    def _load(self, plan: ModelPlan) -> tuple[Session, Growth]:
        """Opens the model, after `main` has had onnxruntime take what it takes once."""
        if self.found.stage != "measuring":
            self._enter("loading")
        growth = Growth()
        self._peak = max(self._peak, growth.highest_before)
        began = time.perf_counter()
        session = Session.open(self._model, plan)
        if self.found.stage == "loading":
            self._note(load_s=time.perf_counter() - began)
        return session, growth

    def _hold_to_schema(self, session: Session) -> None:
        self._note(inputs=session.inputs, outputs=session.outputs)
        if self._request.schema is not None:
            misfit = schema_misfit(self._request.schema, session.inputs, session.outputs)
            if misfit:
                raise _Refused("schema_mismatch", misfit)

    def _hold_to_cases(self, session: Session, cases: Sequence[GoldenCase]) -> None:
        if not cases:
            return
        self._enter("answering")
        report = check_golden(session, cases, deadline_s=self._request.budgets.run_s)
        self._note(golden_cases=report.cases)
        if report.mismatch:
            raise _Refused("golden_mismatch", report.mismatch)
        self._note(golden_worst=report.worst)

    def _measure(self, session: Session, growth: Growth, subject: Subject) -> None:
        """Measures the plan that was asked for, then others where that may pay."""
        self._enter("measuring")
        rehearsal = rehearse(session, subject)
        asked = replace(self._asked, measured_on=fingerprint())
        alone, one = measure_alone(session, asked, subject, rehearsal, growth)
        if rehearsal.rows is not None and rehearsal.rows.is_batch:
            self._note(one_row=one)
        if subject.cases:
            self._note(batch=self._batch(session, subject))
        self._note(plan=alone.plan, stack=alone.stack)
        self._hold_to_latency()
        if one is not None:
            self._choose(Opened(session, growth, alone), subject, rehearsal)

    def _choose(self, first: Opened, subject: Subject, rehearsal: Rehearsal) -> None:
        """Says what is known first: what ends this child from here on does not end the model."""
        self._note_peak()
        self._say(result_line(self.found))
        self._say(SAYS_STAGE + b"choosing\n")
        budgets = self._request.budgets
        search = Search(
            subject=subject,
            rehearsal=rehearsal,
            open=self._load,
            size_bytes=self.found.size_bytes,
            memory_bytes=budgets.memory_bytes,
            until=self._began + budgets.timeout_s / 4,
            others=self._request.choose,
        )
        with suppress(FoglineError, MemoryError):
            for trial in better_trials(first, search):
                self._note(plan=trial.plan, stack=trial.stack)

    def _batch(self, session: Session, subject: Subject) -> Latency:
        arrays = subject.cases[0].inputs
        rows = next((a.shape[0] for a in arrays.values() if a.ndim), 1)
        return measure_latency(session, arrays, rows=rows, effort=subject.effort)

    def _hold_to_latency(self) -> None:
        """Of one row; where none can be cut out, of the whole case, which takes no less."""
        budget = self._request.budgets.latency_us_p50
        taken = self.found.one_row or self.found.batch
        if budget is not None and taken is not None and taken.us_p50 > budget:
            raise _Refused(
                "too_slow",
                f"{taken.rows} row(s) take {taken.us_p50:.0f} us (median of {taken.runs} runs), "
                f"the budget is {budget:.0f} us",
            )

    def _reason(self, error: FoglineError) -> Reason:
        if isinstance(error, Exhausted):
            # Before anything is loaded it was a bound on the file, afterwards an allocation.
            return "too_large" if self.found.stage == "checking" else "too_much_memory"
        return next(reason for kind, reason in _REASONS if isinstance(error, kind))

    def _enter(self, stage: Stage) -> None:
        self._say(SAYS_STAGE + stage.encode() + b"\n")
        self._note(stage=stage)

    def _note_peak(self) -> None:
        self._note(peak_memory_bytes=max(self._peak, own_peak_bytes()))

    def _note(self, **known: object) -> None:
        self.found = replace(self.found, **known)


def _check_digest(model: Path, digest: str) -> None:
    with model.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise Untrusted(f"{model.name}: changed since it was read: SHA-256 was {digest}")


def result_line(found: Qualification) -> bytes:
    return SAYS_RESULT + canonical_json(found) + b"\n"


def main() -> int:
    """The child: exit status 0 whatever the verdict is."""
    # What a library prints to stdout must not look like a result.
    own = os.dup(1)
    os.dup2(2, 1)
    use_one_heap()
    warm_up()  # before it asks for its task: a spare child has time until then
    gc.freeze()  # what is there stays: later collections need not look at it
    try:
        data = sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
        request = decode_json(data, ProofRequest, "request of a proof", fault=InvalidInput)
    except (InvalidInput, Corrupt) as e:
        sys.stderr.write(f"{e}\n")
        return 2
    found = Proof(request, lambda line: os.write(own, line)).run()
    with os.fdopen(own, "wb") as out:
        out.write(result_line(found))
    return 0


if __name__ == "__main__":
    # The parent waits for the end, and taking an interpreter apart takes longer than most proofs.
    status = main()
    sys.stderr.flush()
    os._exit(status)
