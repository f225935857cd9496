"""Proves a model in a limited child; the caller goes on whatever the model does."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from fogline.bundle import Bundle, Variant, device_files, find_variant, unpack_pipeline
from fogline.errors import Corrupt, NotFound, Unavailable, Untrusted
from fogline.records import canonical_json, decode_json
from fogline.runtime.plan import ModelPlan
from fogline.runtime.qualification import Budgets, ProofRequest, Qualification, Reason, Stage
from fogline.runtime.spare import COMMAND, START, Spare
from fogline.sandbox import Ending, Outcome, run_child, signal_name

_STAGE = "stage "
_RESULT = b"result "


def prove(
    request: ProofRequest, *, spare: Spare | None = None, command: Sequence[str] = COMMAND
) -> Qualification:
    """Proves one model in a child of its own.

    The child has no network where the machine can take it away, no environment beside the
    allow-list of `fogline.sandbox`, writes no file, and is the first that the kernel kills when
    memory runs out. It holds the files against their digests, looks at the graph, loads it, holds
    it against the schema, runs the golden cases, and measures.

    Args:
        request: The model, and what it may take.
        spare: A child that was started before; used once, then one is started as without it.
        command: The child; another one only in tests.

    Raises:
        NotFound: there is no such model file.
        Unavailable: the child could not work on this machine, so nothing is known of the model.
    """
    budgets = request.budgets
    if not Path(request.model).is_file():
        raise NotFound(f"{request.model}: no such file")
    limits = replace(START, memory_bytes=budgets.memory_bytes, timeout_s=budgets.timeout_s)
    if spare is not None and spare.take():
        outcome = spare.run(canonical_json(request), limits)
    else:
        outcome = run_child(command, limits=limits, stdin=canonical_json(request))
    return replace(
        _verdict(outcome, budgets),
        isolation=tuple(sorted(outcome.isolation)),
    )


def prove_variant(
    bundle: Bundle,
    variant: str = "",
    *,
    plan: ModelPlan | None = None,
    budgets: Budgets | None = None,
    choose: bool = True,
    spare: Spare | None = None,
    command: Sequence[str] = COMMAND,
) -> Qualification:
    """Proves one variant of a bundle, with all that its manifest says of it; as `prove`.

    `choose=False` measures no other plan than the one given.

    Raises:
        NotFound: the bundle has no such variant.
        Unavailable: nothing is known of the model.
    """
    manifest = bundle.manifest
    chosen = find_variant(manifest, variant)
    if chosen.is_pipeline:
        return _prove_pipeline(bundle, chosen)
    folder = bundle.folder.resolve()
    request = ProofRequest(
        model=str(folder / chosen.file),
        external_data=_locations(chosen),
        files=device_files(manifest, chosen.name),
        folder=str(folder),
        schema=manifest.schema,
        golden=str(folder / manifest.golden) if manifest.golden else "",
        plan=plan or ModelPlan(),
        budgets=budgets or Budgets(),
        choose=choose,
    )
    return prove(request, spare=spare, command=command)


def prove_file(
    model: Path, *, plan: ModelPlan | None = None, budgets: Budgets | None = None
) -> Qualification:
    """Proves that a bare file without external data parses, loads and runs; as `prove`.

    No other plan is tried than the one given.

    Raises:
        NotFound: there is no such file.
        Unavailable: nothing is known of the model.
    """
    return prove(
        ProofRequest(
            model=str(model.resolve()),
            plan=plan or ModelPlan(),
            choose=False,
            budgets=budgets or Budgets(),
        )
    )


def _prove_pipeline(bundle: Bundle, variant: Variant) -> Qualification:
    """A definition is data that no runtime loads, so no child is needed to look at it.

    Whether its components fit is known where they are: when the device lets it serve.
    """
    try:
        pipeline = unpack_pipeline(bundle, variant.name)
    except Untrusted as e:
        return Qualification(reason="digest", detail=str(e)[:4096], stage="checking")
    except Corrupt as e:
        return Qualification(reason="malformed", detail=str(e)[:4096], stage="checking")
    return Qualification(
        stage="checking",
        inputs=pipeline.inputs,
        outputs=bundle.manifest.schema.outputs,
    )


def _locations(variant: Variant) -> tuple[str, ...]:
    folder = Path(variant.file).parent
    return tuple(str(Path(path).relative_to(folder)) for path in variant.external_data)


def _verdict(outcome: Outcome, budgets: Budgets) -> Qualification:
    stage, result = _said(outcome)
    is_chosen = stage == "choosing"
    if result is not None and (outcome.is_success or is_chosen):
        peak = max(result.peak_memory_bytes, 0 if is_chosen else outcome.peak_rss_bytes)
        found = replace(result, peak_memory_bytes=peak)
        if found.is_accepted and peak > budgets.memory_bytes:
            return _rejected(found, "too_much_memory", _memory_text(peak, budgets))
        return found
    if stage == "starting":
        raise Unavailable(
            f"cannot prove a model here: the child {outcome.describe()} before it had begun: "
            f"{outcome.last_words() or 'it said nothing'}"
        )
    found = Qualification(stage=stage, peak_memory_bytes=outcome.peak_rss_bytes)
    reason, detail = _ending(outcome, budgets)
    return _rejected(found, reason, f"{detail}, while {stage}")


def _ending(outcome: Outcome, budgets: Budgets) -> tuple[Reason, str]:
    match outcome.ending:
        case Ending.TIMEOUT | Ending.CPU:
            return "hung", f"not done after {outcome.duration_s:.1f} s"
        case Ending.MEMORY:
            return "too_much_memory", _memory_text(outcome.peak_rss_bytes, budgets)
        case Ending.SIGNAL if signal_name(outcome.code) == "SIGKILL":
            return "too_much_memory", "killed by the kernel, most likely because memory ran out"
        case Ending.SIGNAL:
            return "crashed", f"the child was ended by {signal_name(outcome.code)}"
        case _:
            words = outcome.last_words(300)
            return "crashed", f"the child exited with status {outcome.code} ({words})"


def _memory_text(peak: int, budgets: Budgets) -> str:
    return (
        f"took {peak / 2**20:.0f} MiB of memory, the budget is {budgets.memory_bytes / 2**20:.0f}"
    )


def _rejected(found: Qualification, reason: Reason, detail: str) -> Qualification:
    return replace(found, reason=reason, detail=detail)


def _said(outcome: Outcome) -> tuple[Stage, Qualification | None]:
    """The last stage that the child said, and its last result if it came to one."""
    stage: Stage = "starting"
    result: Qualification | None = None
    for line in outcome.stdout.splitlines():
        if line.startswith(_RESULT):
            result = _read(line[len(_RESULT) :]) or result
            continue
        try:
            stage = msgspec.convert(line.decode().removeprefix(_STAGE), Stage)
        except (msgspec.ValidationError, UnicodeDecodeError):
            continue
    return stage, result


def _read(data: bytes) -> Qualification | None:
    try:
        return decode_json(data, Qualification, "result of a proof")
    except Corrupt:
        return None
