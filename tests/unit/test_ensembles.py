"""The written graph against plain numpy: random trees, thresholds, holes, infinities, batches."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from fogline.errors import Corrupt, Unsupported
from fogline_hub.convert.ensembles import (
    Assembly,
    Ensemble,
    Mode,
    Preparation,
    Tree,
    evaluate,
    joined,
    write_trees,
)

ort = pytest.importorskip("onnxruntime")

COLUMNS = 4
CATEGORY = 3
"""The column of whole numbers."""
NUMERIC = [m for m in Mode if m not in (Mode.MEMBER, Mode.LEAF)]


def run(ensemble: Ensemble, rows: NDArray[np.floating], threads: int = 1) -> NDArray[np.float64]:
    assembly = Assembly("trees")
    is_double = rows.dtype == np.float64
    made = write_trees(assembly, ensemble, "x", is_double=is_double)
    kind = onnx.TensorProto.DOUBLE if is_double else onnx.TensorProto.FLOAT
    model = assembly.model(
        [helper.make_tensor_value_info("x", kind, [None, ensemble.columns])],
        [helper.make_tensor_value_info(made, onnx.TensorProto.DOUBLE, [None, ensemble.outputs])],
    )
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": rows})[0])


def random_tree(rng: np.random.Generator, modes: list[Mode], width: int, outputs: int) -> Tree:
    """Grown by splitting random leaves; some trees are one leaf."""
    kinds, yes, no = [int(Mode.LEAF)], [0], [0]
    for _ in range(int(rng.integers(0, 24))):
        leaf = int(rng.choice([i for i, m in enumerate(kinds) if m == Mode.LEAF]))
        kinds[leaf] = int(rng.choice(modes))
        yes[leaf], no[leaf] = len(kinds), len(kinds) + 1
        if rng.random() < 0.5:
            yes[leaf], no[leaf] = no[leaf], yes[leaf]
        kinds += [int(Mode.LEAF)] * 2
        yes += [0, 0]
        no += [0, 0]
    count = len(kinds)
    features = rng.integers(0, COLUMNS, count)
    features[np.array(kinds) == Mode.MEMBER] = CATEGORY
    thresholds = rng.choice([*rng.normal(size=6), 0.0, -0.0, 1.0, 1e-40, 1e300, np.inf], count)
    members = {
        i: np.unique(rng.integers(-2, 80, int(rng.integers(0, 50)))).astype(np.float64)
        for i, m in enumerate(kinds)
        if m == Mode.MEMBER
    }
    return Tree(
        features=features,
        modes=kinds,
        thresholds=thresholds,
        yes=yes,
        no=no,
        missing_yes=rng.random(count) < 0.5,
        values=rng.normal(size=(count, width)),
        members=members,
        target=int(rng.integers(0, outputs)),
    )


def rows_for(ensemble: Ensemble, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Numbers at, and one ulp beside, thresholds; missing; infinite; categories and fractions."""
    limits = ensemble.thresholds
    pool = np.concatenate(
        [
            limits,
            np.nextafter(limits, np.inf),
            np.nextafter(limits, -np.inf),
            np.nextafter(limits.astype(np.float32), np.float32(np.inf)).astype(np.float64),
            rng.normal(size=20),
            [np.nan] * 8,
            [np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-310, 1e308, -1e308],
        ]
    )
    rows = rng.choice(pool, (count, COLUMNS))
    categories = [*range(-4, 82), 0.5, -0.5, 1.5, 31.5, 63.999, 1e10, -1e10, np.nan, np.inf]
    rows[:, CATEGORY] = rng.choice(categories, count)
    return np.asarray(rows)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    trees=st.sampled_from([1, 2, 7, 40, 120]),
    outputs=st.sampled_from([1, 2, 3, 5]),
    is_vector=st.booleans(),
    modes=st.sampled_from(
        [
            [Mode.LESS_OR_EQUAL],
            [Mode.LESS],
            [Mode.GREATER],
            [Mode.MEMBER],
            [Mode.LESS_OR_EQUAL, Mode.MEMBER],
            [Mode.LESS, Mode.MEMBER, Mode.EQUAL],
            NUMERIC,
            [*NUMERIC, Mode.MEMBER],
        ]
    ),
    dtype=st.sampled_from([np.float32, np.float64]),
    rounds=st.booleans(),
)
def test_the_graph_answers_as_plain_numpy(
    seed: int,
    trees: int,
    outputs: int,
    is_vector: bool,
    modes: list[Mode],
    dtype: type[np.floating],
    rounds: bool,
) -> None:
    rng = np.random.default_rng(seed)
    grown = [random_tree(rng, modes, outputs if is_vector else 1, outputs) for _ in range(trees)]
    ensemble = joined(
        grown,
        columns=COLUMNS,
        outputs=outputs,
        base=rng.normal(size=outputs) if rng.random() < 0.5 else 0.0,
        divisor=float(trees) if rng.random() < 0.5 else 1.0,
        preparation=Preparation(
            float32=rounds,
            zero_bound=1e-35,
            zero_columns=np.array([1]) if rng.random() < 0.5 else np.zeros(0, np.int64),
            whole_columns=np.array([CATEGORY]),
        ),
    )
    with np.errstate(over="ignore"):
        rows = rows_for(ensemble, rng, 1000).astype(dtype)
    expected = evaluate(ensemble, rows)
    for count, threads in ((0, 1), (1, 2), (2, 1), (65, 2), (1000, 1), (1000, 2)):
        got = run(ensemble, rows[:count], threads)
        assert got.shape == (count, outputs)
        np.testing.assert_allclose(got, expected[:count], rtol=1e-12, atol=1e-12)


def stump(**changes: object) -> Tree:
    """x0 <= 1 says 2, else 3."""
    parts: dict[str, object] = {
        "features": [0, 0, 0],
        "modes": [Mode.LESS_OR_EQUAL, Mode.LEAF, Mode.LEAF],
        "thresholds": [1.0, 0.0, 0.0],
        "yes": [1, 0, 0],
        "no": [2, 0, 0],
        "missing_yes": [False, False, False],
        "values": [[0.0], [2.0], [3.0]],
    }
    return Tree(**(parts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"yes": [0, 0, 0]},
        {"yes": [2, 0, 0]},
        {"yes": [7, 0, 0]},
        {"no": [-1, 0, 0]},
        {"features": [9, 0, 0]},
        {"features": [-1, 0, 0]},
        {"thresholds": [np.nan, 0.0, 0.0]},
        {"values": [[0.0], [np.nan], [3.0]]},
        {"values": [[0.0, 1.0, 2.0]] * 3},
        {"target": 5},
        {"modes": []},
    ],
)
def test_what_is_no_tree_is_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(Corrupt):
        joined([stump(**changes)], columns=COLUMNS, outputs=2)


def test_sets_of_columns_that_hold_fractions_are_refused() -> None:
    tree = stump(modes=[Mode.MEMBER, Mode.LEAF, Mode.LEAF], members={0: np.array([1.0, 2.0])})
    with pytest.raises(Unsupported, match="whole numbers"):
        run(joined([tree], columns=COLUMNS, outputs=1), np.zeros((1, COLUMNS)))


def test_one_set_of_arrays_is_one_byte_string() -> None:
    assembly = Assembly("trees")
    ensemble = joined([stump(), stump(target=1)], columns=COLUMNS, outputs=2, base=[0.5, 0.0])
    write_trees(assembly, ensemble, "x", is_double=True)
    assert all(t.raw_data for t in assembly.constants)
    tensors = [a.t for n in assembly.nodes for a in n.attribute if a.HasField("t")]
    assert len(tensors) == 3
    assert all(t.raw_data for t in tensors)
