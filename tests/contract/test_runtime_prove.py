"""Real models in real children: who passes, who does not, and that the caller goes on."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from fogline.bundle import (
    Bundle,
    BundleDraft,
    GoldenCase,
    Tolerance,
    VariantDraft,
    read_bundle,
    write_bundle,
)
from fogline.errors import InvalidInput, NotFound, Unavailable
from fogline.runtime import ModelPlan, Session
from fogline.runtime.fingerprint import fingerprint
from fogline.runtime.measure import Effort
from fogline.runtime.prove import prove, prove_file, prove_variant
from fogline.runtime.qualification import Budgets, ProofRequest
from fogline.runtime.spare import START, Spare
from fogline.schema import Field, Schema
from tests import hostile_models as hostile
from tests import stackable
from tests.models import save_graph, save_identity, tensor

MIB = 2**20
X = np.array([[1, 2], [3, 4]], np.float32)
QUICK = Budgets(timeout_s=30, effort=Effort(runs=20, budget_s=0.2))


def schema(output: tuple[int, ...] = (-1, 2), datatype: str = "FP32") -> Schema:
    return Schema(
        inputs=(Field(name="x", datatype=datatype, shape=(-1, 2)),),
        outputs=(Field(name="y", datatype=datatype, shape=output),),
    )


def bundle(
    folder: Path,
    model: Path,
    *,
    inputs: np.ndarray = X,
    expected: np.ndarray = X,
    named: Schema | None = None,
    external: dict[str, bytes | Path] | None = None,
) -> Bundle:
    """One variant with one golden case that allows an error of 0.5."""
    case = GoldenCase(
        inputs={"x": inputs}, outputs={"y": expected}, tolerances={"y": Tolerance(absolute=0.5)}
    )
    variant = VariantDraft(name="fp32", precision="fp32", model=model, external_data=external or {})
    write_bundle(
        folder,
        BundleDraft(
            name="m",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            schema=named or schema(),
            variants=(variant,),
            golden=(case,),
        ),
    )
    return read_bundle(folder)


def test_a_good_variant_is_accepted_and_measured(tmp_path: Path) -> None:
    model = save_identity(tmp_path / "m.onnx")
    found = prove_variant(
        bundle(tmp_path / "b", model, expected=X + np.float32(0.25)), budgets=QUICK
    )
    assert found.is_accepted, found
    assert found.stage == "measuring"
    assert found.golden_cases == 1
    assert found.golden_worst == pytest.approx(0.5)
    assert found.one_row is not None
    assert found.batch is not None
    assert (found.one_row.rows, found.batch.rows) == (1, 2)
    assert 0 < found.one_row.us_p50 <= found.one_row.us_p90
    assert 30 * MIB < found.peak_memory_bytes < 400 * MIB
    assert found.size_bytes == model.stat().st_size
    assert [f.name for f in found.inputs] == ["x"]


def test_a_bare_file_is_proved_to_load_and_measured_on_made_up_rows(tmp_path: Path) -> None:
    found = prove_file(save_identity(tmp_path / "m.onnx"), budgets=QUICK)
    assert found.is_accepted
    assert found.stage == "measuring"
    assert found.golden_cases == 0
    assert found.batch is None
    assert found.one_row is not None
    assert found.stack is not None
    assert found.stack.rows == "made up"
    assert found.outputs[0].datatype == "FP32"
    with pytest.raises(NotFound, match="none"):
        prove_file(tmp_path / "none")


def test_the_plan_is_measured_with_the_model(tmp_path: Path) -> None:
    found = prove_variant(
        bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx")),
        budgets=QUICK,
        plan=ModelPlan(max_delay_us=70),
    )
    plan, stack = found.plan, found.stack
    assert plan is not None
    assert stack is not None
    assert plan.placement == "loop"
    assert plan.max_stack == stack.max_rows > 1
    assert (stack.graph, stack.rows, stack.reason) == ("kept", "golden", "")
    assert 0 < plan.one_row_us < 500
    assert plan.max_delay_us == 70
    assert plan.measured_on == fingerprint()
    assert plan.memory is not None
    assert plan.memory.anonymous_bytes < 4 * MIB
    assert plan.memory.load_peak_bytes >= plan.memory.anonymous_bytes + plan.memory.file_bytes


@pytest.mark.parametrize(
    ("save", "says"),
    [
        (stackable.save_dynamic_int8, "one scale over all rows"),
        (stackable.save_threshold_over_batch, "reduces over everything"),
        (stackable.save_fixed_batch, "fixed first dimension"),
        (stackable.save_mean_behind_shape, "a row's answer is another"),
    ],
)
def test_a_model_that_mixes_rows_is_accepted_and_never_stacked(
    tmp_path: Path, save: Callable[[Path], Path], says: str
) -> None:
    found = prove_file(save(tmp_path / "m.onnx"), budgets=QUICK)
    assert found.is_accepted, found
    assert found.plan is not None
    assert found.plan.max_stack == 1
    assert found.plan.one_row_us > 0
    assert found.stack is not None
    assert says in found.stack.reason


def test_a_model_that_takes_its_cases_and_no_single_row_is_accepted(tmp_path: Path) -> None:
    """`x` as pairs of rows and back: an odd number of rows cannot be."""
    nodes = [
        helper.make_node("Reshape", ["x", "pairs"], ["p"]),
        helper.make_node("Reshape", ["p", "rows"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(v, np.int64), n)
        for n, v in (("pairs", [-1, 4]), ("rows", [-1, 2]))
    ]
    sides = [tensor("x", "FP32", ("n", 2))], [tensor("y", "FP32", ("n", 2))]
    model = save_graph(tmp_path / "m.onnx", nodes, *sides, constants)
    found = prove_variant(bundle(tmp_path / "b", model), budgets=QUICK)
    assert found.is_accepted, found
    assert found.one_row is None
    assert found.batch is not None
    assert found.plan is not None
    assert (found.plan.max_stack, found.plan.placement) == (1, "loop")


def test_a_bare_model_of_a_table_is_tried_with_small_indices(tmp_path: Path) -> None:
    known = prove_file(stackable.save_lookup(tmp_path / "m.onnx"), budgets=QUICK)
    assert known.plan is not None
    assert known.plan.max_stack > 1
    single = prove_file(stackable.save_lookup(tmp_path / "m.onnx", size=1), budgets=QUICK)
    assert single.is_accepted
    assert single.plan is not None
    assert single.stack is not None
    assert (single.plan.placement, single.plan.max_stack) == ("loop", 1)
    assert "equal" in single.stack.reason


def test_a_bare_model_that_takes_nothing_made_up_is_still_served(tmp_path: Path) -> None:
    found = prove_file(hostile.save_endless_loop(tmp_path / "m.onnx"), budgets=QUICK)
    assert found.is_accepted
    assert found.plan is not None
    assert found.stack is not None
    assert (found.plan.placement, found.plan.max_stack, found.plan.one_row_us) == ("pool", 1, 0)
    assert "made-up inputs took longer" in found.stack.reason


def test_external_data_comes_along(tmp_path: Path) -> None:
    model = hostile.save_external(tmp_path / "m.onnx", "w.bin", elements=2)
    packed = bundle(
        tmp_path / "b",
        model,
        expected=X + 1,
        external={"w.bin": np.ones(2, np.float32).tobytes()},
    )
    found = prove_variant(packed, budgets=QUICK)
    assert found.is_accepted, found
    assert found.size_bytes == model.stat().st_size + 8


def test_external_data_through_a_link_is_refused(tmp_path: Path) -> None:
    model = hostile.save_external(tmp_path / "m.onnx", "w.bin", elements=2)
    (tmp_path / "outside").write_bytes(b"12345678")
    (tmp_path / "w.bin").symlink_to(tmp_path / "outside")
    found = prove(ProofRequest(model=str(model), external_data=("w.bin",), budgets=QUICK))
    assert (found.reason, found.stage) == ("malformed", "checking")
    assert "regular file" in found.detail


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [(b"nonsense", "malformed", "not an ONNX file"), (b"", "malformed", "not an ONNX file")],
)
def test_what_is_no_model_is_malformed(tmp_path: Path, data: bytes, reason: str, says: str) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    found = prove_file(tmp_path / "m.onnx", budgets=QUICK)
    assert (found.reason, found.stage) == (reason, "checking")
    assert says in found.detail


def test_an_operator_that_is_not_served_is_named(tmp_path: Path) -> None:
    found = prove_file(hostile.save_with_function(tmp_path / "m.onnx"), budgets=QUICK)
    assert found.reason == "unsupported_operator"
    assert "own.f" in found.detail


def test_a_file_beyond_the_bounds_is_too_large(tmp_path: Path) -> None:
    found = prove_file(hostile.save_nested(tmp_path / "m.onnx", 12), budgets=QUICK)
    assert found.reason == "too_large"


def test_a_changed_file_is_named_by_its_digest(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"))
    path = packed.path("variants/fp32/model.onnx")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = prove_variant(packed, budgets=QUICK)
    assert (found.reason, found.stage) == ("digest", "checking")
    assert "SHA-256" in found.detail


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (schema(output=(-1, 3)), "output 'y'"),
        (schema(datatype="FP64"), "input 'x'"),
        (Schema(inputs=(), outputs=schema().outputs), "inputs are not"),
    ],
)
def test_a_schema_that_is_not_the_models_is_refused(
    tmp_path: Path, named: Schema, says: str
) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"), named=named)
    found = prove_variant(packed, budgets=QUICK)
    assert (found.reason, found.stage) == ("schema_mismatch", "loading")
    assert says in found.detail


def test_a_wrong_answer_is_refused(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"), expected=X + 1)
    found = prove_variant(packed, budgets=QUICK)
    assert (found.reason, found.stage) == ("golden_mismatch", "answering")
    assert "4 of 4 elements" in found.detail


def test_a_model_beyond_its_latency_budget_is_too_slow(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"))
    budgets = Budgets(latency_us_p50=0.01, effort=QUICK.effort)
    found = prove_variant(packed, budgets=budgets)
    assert (found.reason, found.stage) == ("too_slow", "measuring")
    assert found.one_row is not None


def test_a_constant_that_unfolds_at_load_takes_too_much_memory(tmp_path: Path) -> None:
    """A file of 200 bytes whose loading computes 600 MB."""
    model = hostile.save_folding_bomb(tmp_path / "m.onnx", 150_000_000)
    assert model.stat().st_size < 400
    found = prove_file(model, budgets=Budgets(memory_bytes=400 * MIB, timeout_s=30))
    assert (found.reason, found.stage) == ("too_much_memory", "loading")
    assert "MiB of memory, the budget is 400" in found.detail


def test_an_input_that_decides_what_a_run_takes_needs_bounds(tmp_path: Path) -> None:
    found = prove_file(hostile.save_greedy(tmp_path / "m.onnx"), budgets=QUICK)
    assert (found.reason, found.stage) == ("unbounded", "checking")
    assert "input 'x'" in found.detail


def test_an_allocation_that_an_input_asks_for_takes_too_much_memory(tmp_path: Path) -> None:
    bounded = Schema(
        inputs=(Field(name="x", datatype="FP32", shape=(-1, 2), minimum=0, maximum=1e9),),
        outputs=(Field(name="y", datatype="FP32", shape=(-1,)),),
    )
    packed = bundle(
        tmp_path / "b",
        hostile.save_greedy(tmp_path / "m.onnx"),
        inputs=np.array([[0, 1e9]], np.float32),
        named=bounded,
    )
    found = prove_variant(packed, budgets=Budgets(memory_bytes=400 * MIB, timeout_s=30))
    assert (found.reason, found.stage) == ("too_much_memory", "answering")


def test_an_endless_loop_hangs_by_the_deadline_of_a_run(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", hostile.save_endless_loop(tmp_path / "m.onnx"))
    found = prove_variant(packed, budgets=Budgets(run_s=0.3, timeout_s=30))
    assert (found.reason, found.stage) == ("hung", "answering")


def test_an_endless_loop_hangs_by_the_time_of_the_child(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", hostile.save_endless_loop(tmp_path / "m.onnx"))
    found = prove_variant(packed, budgets=Budgets(run_s=60, timeout_s=2))
    assert (found.reason, found.stage) == ("hung", "answering")
    assert "not done after 2." in found.detail


CRASHING = """
import ctypes
from fogline.runtime import qualify
from fogline.runtime.session import Session
Session.open = lambda *a, **k: HOW
qualify.main()
"""


CHOOSING = """
import ctypes, time
from fogline.runtime import qualify
qualify.better_trials = lambda *a: HOW
qualify.main()
"""


def child_that_dies(how: str) -> list[str]:
    """The real child, with loading replaced by what ends it."""
    code = CRASHING.replace("HOW", how)
    return [sys.executable, "-P", "-c", code]


def test_a_segmentation_fault_while_loading_is_a_crash(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"))
    found = prove_variant(packed, budgets=QUICK, command=child_that_dies("ctypes.string_at(0)"))
    assert (found.reason, found.stage) == ("crashed", "loading")
    assert "SIGSEGV" in found.detail


def test_an_abort_and_an_unknown_error_are_crashes(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"))
    aborted = prove_variant(
        packed, budgets=QUICK, command=child_that_dies("__import__('os').abort()")
    )
    assert aborted.reason == "crashed"
    assert "SIGABRT" in aborted.detail
    failed = prove_variant(packed, budgets=QUICK, command=child_that_dies("1 / 0"))
    assert failed.reason == "crashed"
    assert "ZeroDivisionError" in failed.detail


def test_what_a_library_prints_is_no_result(tmp_path: Path) -> None:
    packed = bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx"))
    found = prove_variant(
        packed,
        budgets=QUICK,
        command=child_that_dies("(print('result {}', flush=True), __import__('os')._exit(0))"),
    )
    assert found.reason == "crashed"


@pytest.mark.parametrize(
    "how", ["ctypes.string_at(0)", "1 / 0", "bytearray(600_000_000)", "time.sleep(60)"]
)
def test_what_ends_the_search_for_a_better_plan_is_no_reason_against_the_model(
    tmp_path: Path, how: str
) -> None:
    code = CHOOSING.replace("HOW", how)
    found = prove_variant(
        bundle(tmp_path / "b", save_identity(tmp_path / "m.onnx")),
        budgets=Budgets(memory_bytes=400 * MIB, timeout_s=4, effort=QUICK.effort),
        command=[sys.executable, "-P", "-c", code],
    )
    assert found.is_accepted, found
    assert found.plan is not None
    assert (found.plan.placement, found.plan.max_stack) == ("loop", 1)
    assert 0 < found.peak_memory_bytes < 400 * MIB


def test_a_child_that_cannot_work_says_nothing_of_the_model(tmp_path: Path) -> None:
    model = save_identity(tmp_path / "m.onnx")
    request = ProofRequest(model=str(model), budgets=QUICK)
    with pytest.raises(Unavailable, match="no such thing"):
        prove(request, command=[sys.executable, "-c", "raise SystemExit('no such thing')"])
    with pytest.raises(Unavailable, match="MiB"):
        prove_file(model, budgets=Budgets(memory_bytes=20 * MIB))


# -------------------------------------------------------- children in advance


def test_a_child_that_was_started_before_proves_one_model(tmp_path: Path) -> None:
    request = ProofRequest(model=str(save_identity(tmp_path / "m.onnx")), budgets=QUICK)
    with Spare() as spare:
        first = prove(request, spare=spare)
        second = prove(request, spare=spare)
    assert first.is_accepted
    assert second.is_accepted
    assert first.plan is not None
    assert first.isolation == second.isolation


def test_a_child_in_advance_keeps_the_budgets_of_its_request(tmp_path: Path) -> None:
    bomb = hostile.save_folding_bomb(tmp_path / "m.onnx", 150_000_000)
    budgets = Budgets(memory_bytes=400 * MIB, timeout_s=30)
    with Spare() as spare:
        found = prove(ProofRequest(model=str(bomb), budgets=budgets), spare=spare)
    assert found.reason == "too_much_memory"
    packed = bundle(tmp_path / "b", hostile.save_endless_loop(tmp_path / "l.onnx"))
    with Spare() as spare:
        found = prove_variant(packed, budgets=Budgets(run_s=60, timeout_s=2), spare=spare)
    assert found.reason == "hung"


def test_a_child_that_was_not_needed_ends(tmp_path: Path) -> None:
    with Spare():
        pass
    children = [p.read_text() for p in Path("/proc/self/task").glob("*/children")]
    named = [Path(f"/proc/{pid}/cmdline") for text in children for pid in text.split()]
    assert not [p for p in named if b"fogline.runtime.qualify" in p.read_bytes()]
    unused = Spare()
    unused.close()
    with pytest.raises(Unavailable, match="before it was used"):
        unused.run(b"", START)


def test_recurrent_models_are_never_given_tensors_without_elements(tmp_path: Path) -> None:
    """A run of them would end the process in onnxruntime 1.32, and with it the server."""
    weights = {
        "w": np.ones((1, 8, 3), np.float32),
        "r": np.ones((1, 8, 2), np.float32),
    }
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=2)]
    model = save_graph(
        tmp_path / "lstm.onnx",
        nodes,
        [tensor("x", "FP32", (5, "n", 3))],
        [tensor("y", "FP32", (1, "n", 2))],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    found = prove_file(model, budgets=QUICK)
    assert found.is_accepted, found.detail
    assert found.plan is not None
    session = Session.open(model, found.plan)
    assert session.run({"x": np.ones((5, 2, 3), np.float32)})["y"].shape == (1, 2, 2)
    with pytest.raises(InvalidInput, match="no elements"):
        session.run({"x": np.ones((5, 0, 3), np.float32)})
