"""The limited child in which a model is proved: `python -m fogline.runtime.qualify`.

Reads a `ProofRequest` as JSON from stdin, says on stdout at which stage it is, a line each, and
last its `Qualification` as one line of JSON. Whatever the model does to this process, ends this
process alone. A model that takes this process over could lie about itself; what it cannot do is
serve, because nothing of it runs outside.
"""

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fogline.bundle import check_file, decode_cases
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
from fogline.runtime.fit import schema_misfit
from fogline.runtime.golden import check_golden
from fogline.runtime.graph import inspect_graph
from fogline.runtime.measure import (
    first_row,
    measure_latency,
    model_size_bytes,
    own_peak_memory_bytes,
)
from fogline.runtime.qualification import ProofRequest, Qualification, Reason, Stage
from fogline.runtime.session import Session

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


class Proof:
    """One proof under way: what is known so far, for whatever ends it."""

    def __init__(self, request: ProofRequest, say: Say) -> None:
        self._request = request
        self._say = say
        self._model = Path(request.model)
        self.found = Qualification()

    def run(self) -> Qualification:
        """Proves the model; every error that Fogline knows is a verdict."""
        try:
            self._check()
            self._answer(self._load())
        except _Refused as e:
            self._note(reason=e.reason, detail=str(e)[:2000])
        except FoglineError as e:
            self._note(reason=self._reason(e), detail=str(e)[:2000])
        except OSError as e:
            self._note(reason="malformed", detail=f"{e.filename}: {e.strerror}")
        except MemoryError:
            self._note(reason="too_much_memory", detail="no more memory was to be had")
        self._note(peak_memory_bytes=own_peak_memory_bytes())
        return self.found

    def _check(self) -> None:
        self._enter("checking")
        request = self._request
        for entry in request.files:
            check_file(Path(request.folder) / entry.path, entry)
        sizes = {}
        for location in request.external_data:
            status = (self._model.parent / location).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise Corrupt(f"external data {location}: not a regular file with one link")
            sizes[location] = status.st_size
        facts = inspect_graph(self._model, external_data=sizes, bounds=request.budgets.graph)
        paths = (self._model.parent / location for location in request.external_data)
        self._note(nodes=facts.nodes, size_bytes=model_size_bytes(self._model, paths))

    def _load(self) -> Session:
        self._enter("loading")
        began = time.perf_counter()
        session = Session.open(self._model, self._request.plan)
        self._note(
            load_s=time.perf_counter() - began, inputs=session.inputs, outputs=session.outputs
        )
        if self._request.schema is not None:
            misfit = schema_misfit(self._request.schema, session.inputs, session.outputs)
            if misfit:
                raise _Refused("schema_mismatch", misfit)
        return session

    def _answer(self, session: Session) -> None:
        request = self._request
        if not request.golden:
            return
        self._enter("answering")
        path = Path(request.golden)
        cases = decode_cases(path.read_bytes(), path.name)
        report = check_golden(session, cases, deadline_s=request.budgets.run_s)
        self._note(golden_cases=report.cases)
        if report.mismatch:
            raise _Refused("golden_mismatch", report.mismatch)
        self._note(golden_worst=report.worst)
        self._enter("measuring")
        effort = request.budgets.effort
        arrays = cases[0].inputs
        one = first_row(session.inputs, arrays)
        if one is not None:
            self._note(one_row=measure_latency(session, one, rows=1, effort=effort))
        rows = next((a.shape[0] for a in arrays.values() if a.ndim), 1)
        self._note(batch=measure_latency(session, arrays, rows=rows, effort=effort))
        self._hold_to_latency()

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

    def _note(self, **known: object) -> None:
        self.found = msgspec.structs.replace(self.found, **known)


def main() -> int:
    """The child: exit status 0 whatever the verdict is."""
    # What a library prints to stdout must not look like a result.
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        data = sys.stdin.buffer.read(MAX_JSON_BYTES + 1)
        request = decode_json(data, ProofRequest, "request of a proof", fault=InvalidInput)
    except (InvalidInput, Corrupt) as e:
        sys.stderr.write(f"{e}\n")
        return 2
    found = Proof(request, lambda line: os.write(own, line)).run()
    with os.fdopen(own, "wb") as out:
        out.write(SAYS_RESULT + canonical_json(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
