"""Which plan a model gets; pure decisions."""

import onnxruntime
import pytest
from msgspec.structs import replace

from fogline.runtime.fingerprint import fingerprint, still_holding
from fogline.runtime.plan import MemoryNeed, ModelPlan
from fogline.runtime.settle import Ratio, alternatives, is_better, placement_of
from fogline.schema import Field

MB = 2**20
X = Field(name="x", datatype="FP32", shape=(-1, 4))


def placed(us: float = 20, field: Field = X, operator: str = "Gemm", *, sized: bool = False) -> str:
    return placement_of(us, inputs=(field,), operators=(operator,), is_sized=sized)


def test_only_what_is_quick_for_every_input_runs_on_the_loop() -> None:
    assert placed() == "loop"
    assert placed(500) == "loop"
    assert placed(501) == "pool"
    assert placed(0) == "pool"
    for operator in ("Loop", "If", "Scan", "ai.onnx.ml.TfIdfVectorizer"):
        assert placed(operator=operator) == "pool"
    assert placed(field=Field(name="x", datatype="FP32", shape=(-1, -1))) == "pool"
    assert placed(sized=True) == "pool"


def measured(us: float = 1000, anonymous: int = 20 * MB, **changes: object) -> ModelPlan:
    need = MemoryNeed(anonymous_bytes=anonymous, load_peak_bytes=2 * anonymous)
    return replace(ModelPlan(placement="pool", one_row_us=us, memory=need), **changes)


def tried(plan: ModelPlan, size: int = 20 * MB, free: int = 1000 * MB) -> list[dict[str, bool]]:
    return [dict(change) for change in alternatives(plan, size, free)]


def test_other_plans_are_tried_where_they_may_pay() -> None:
    assert tried(measured()) == [{"prepack": False}, {"arena": True}]
    assert tried(measured(us=20)) == [{"prepack": False}]
    assert tried(measured(us=20), size=MB) == []
    assert tried(measured(arena=True, prepack=False)) == [{"prepack": True}, {"arena": False}]
    assert tried(measured(), free=100 * MB) == []


@pytest.mark.parametrize(
    ("one_row", "stacked", "anonymous", "arena", "better"),
    [
        (0.85, 1.0, 20, True, True),  # an arena that gains
        (0.95, 1.0, 10, True, False),  # one that does not, though it looks smaller
        (1.0, 1.05, 10, False, True),  # as fast and smaller
        (1.0, 1.05, 19, False, False),  # hardly smaller
        (0.65, 2.0, 2, False, False),  # no prepacking: quicker alone, twice as slow in stacks
        (0.65, 0.65, 2, False, True),
    ],
)
def test_another_plan_is_taken_by_the_rule(
    one_row: float, stacked: float, anonymous: int, arena: bool, better: bool
) -> None:
    other = measured(anonymous=anonymous * MB, arena=arena, prepack=arena)
    ratio = Ratio(one_row=one_row, stacked=stacked)
    assert is_better(other, measured(), ratio) is better


def test_the_cost_of_rows_is_known_or_zero() -> None:
    plan = ModelPlan(one_row_us=10, row_us=2)
    assert (plan.cost_us(1), plan.cost_us(5), plan.cost_us(0)) == (10, 18, 10)
    assert ModelPlan().cost_us(9) == 0


def test_a_plan_holds_only_where_it_was_measured() -> None:
    here = fingerprint()
    plan = measured(placement="loop", max_stack=64, row_us=1, arena=True, measured_on=here)
    assert still_holding(plan, here) == plan
    stale = still_holding(plan, "another build")
    assert (stale.placement, stale.max_stack, stale.one_row_us, stale.arena) == ("auto", 1, 0, True)
    assert f"onnxruntime {onnxruntime.__version__}," in here
