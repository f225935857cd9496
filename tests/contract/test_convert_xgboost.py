"""XGBoost on real data: each booster and objective, missing values, categories, its own files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.errors import Corrupt, Unsupported
from tests.boosters import dataset, holed, proved, with_categories

xgboost = pytest.importorskip("xgboost")
converter = pytest.importorskip("fogline_hub.convert.xgboost")

CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("cancer", {}),
    ("cancer", {"booster": "dart", "rate_drop": 0.4}),
    ("cancer", {"booster": "gblinear"}),
    ("cancer", {"num_parallel_tree": 3, "subsample": 0.6, "colsample_bynode": 0.5}),
    ("cancer", {"base_score": 0.2}),
    ("cancer", {"tree_method": "exact", "gamma": 1.0}),
    ("wine", {}),
    ("wine", {"booster": "dart", "rate_drop": 0.4, "normalize_type": "forest"}),
    ("wine", {"booster": "gblinear"}),
    ("wine", {"num_parallel_tree": 2, "subsample": 0.6}),
    ("wine", {"multi_strategy": "multi_output_tree"}),
    ("wine", {"grow_policy": "lossguide", "max_leaves": 5, "objective": "multi:softmax"}),
]
OBJECTIVES = [
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:gamma",
    "reg:tweedie",
    "count:poisson",
    "survival:cox",
]


@pytest.mark.parametrize(("data", "options"), CLASSIFIERS)
def test_a_classifier_answers_as_before(tmp_path: Path, data: str, options: dict[str, Any]) -> None:
    rows, target = holed(data)
    depth = {} if options.get("booster") == "gblinear" else {"max_depth": 4}
    model = xgboost.XGBClassifier(n_estimators=12, **depth, **options)
    model.fit(rows[::2], target[::2])
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_regressor_answers_as_before(tmp_path: Path, objective: str) -> None:
    rows, target = holed("diabetes")
    model = xgboost.XGBRegressor(n_estimators=12, max_depth=4, objective=objective)
    model.fit(rows[::2], target[::2] / 100)
    proved(converter.adopt(model), rows, tmp_path)


def test_shares_between_zero_and_one_are_learnt_and_kept(tmp_path: Path) -> None:
    rows, target = holed("diabetes")
    model = xgboost.XGBRegressor(n_estimators=12, objective="reg:logistic")
    model.fit(rows, target / 400)
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets_are_several_scores(tmp_path: Path, strategy: str) -> None:
    rows, target = holed("diabetes")
    model = xgboost.XGBRegressor(n_estimators=8, multi_strategy=strategy)
    model.fit(rows, np.column_stack([target, -target]))
    proved(converter.adopt(model), rows, tmp_path)


def test_several_quantiles_are_several_scores(tmp_path: Path) -> None:
    rows, target = holed("diabetes")
    model = xgboost.XGBRegressor(
        n_estimators=8, objective="reg:quantileerror", quantile_alpha=np.array([0.1, 0.5])
    )
    model.fit(rows, target)
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise"])
def test_a_ranker_answers_as_before(tmp_path: Path, objective: str) -> None:
    rows, target = holed("diabetes")
    model = xgboost.XGBRanker(n_estimators=8, objective=objective)
    model.fit(rows, target.astype(int) // 80, qid=np.arange(len(rows)) // 20)
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("onehot", [2, 100])
@pytest.mark.parametrize("data", ["cancer", "wine", "diabetes"])
def test_categories_of_a_table_are_found_by_their_values(
    tmp_path: Path, data: str, onehot: int
) -> None:
    table, target = with_categories(data)
    kind = xgboost.XGBRegressor if data == "diabetes" else xgboost.XGBClassifier
    model = kind(n_estimators=12, max_depth=4, enable_categorical=True, max_cat_to_onehot=onehot)
    model.fit(table, target)
    trained = converter.adopt(model)
    assert len(trained._predictor.model.members)
    proved(trained, table, tmp_path)


def test_codes_that_were_said_to_be_categories_are_floored(tmp_path: Path) -> None:
    rows, target = holed("wine")
    rng = np.random.default_rng(3)
    codes = (target * 7 + rng.integers(0, 3, len(target))) % 11
    rows = np.column_stack([rows[:, :3], codes])
    model = xgboost.XGBClassifier(
        n_estimators=8, enable_categorical=True, feature_types=["q", "q", "q", "c"]
    )
    model.fit(rows, target)
    tried = np.concatenate([rows, rows])
    tried[len(rows) :, 3] = rng.choice([0.5, 3.5, 10.0, 11.0, 70.0, np.nan], len(rows))
    proved(converter.adopt(model), tried, tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
@pytest.mark.parametrize("by", ["estimator", "booster"])
def test_early_stopping_is_as_the_file_s_maker_has_it(tmp_path: Path, suffix: str, by: str) -> None:
    rows, target = holed("wine")
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2, learning_rate=0.8)
    model.fit(rows[::2], target[::2], eval_set=[(rows[1::2], target[1::2])], verbose=False)
    booster = model.get_booster()
    assert model.best_iteration + 1 < booster.num_boosted_rounds()
    path = tmp_path / f"model{suffix}"
    if by == "estimator":
        model.save_model(path)
        expected = model.predict_proba(rows)
    else:
        raw = xgboost.train(
            {"objective": "multi:softprob", "num_class": 3, "eta": 0.8},
            xgboost.DMatrix(rows[::2], target[::2]),
            60,
            evals=[(xgboost.DMatrix(rows[1::2], target[1::2]), "held")],
            early_stopping_rounds=2,
            verbose_eval=False,
        )
        raw.save_model(path)
        expected = raw.predict(xgboost.DMatrix(rows))
    trained = converter.load(path)
    proved(trained, rows, tmp_path)
    answers = trained.answers(trained.select(dataset(rows), None))
    np.testing.assert_array_equal(answers.numbers, expected.astype(np.float64))


@pytest.mark.parametrize("objective", ["binary:logitraw", "binary:hinge", "binary:logistic"])
def test_a_booster_of_two_classes_answers_as_before(tmp_path: Path, objective: str) -> None:
    rows, target = holed("cancer")
    raw = xgboost.train({"objective": objective}, xgboost.DMatrix(rows, target), 6)
    raw.save_model(tmp_path / "model.ubj")
    proved(converter.load(tmp_path / "model.ubj"), rows, tmp_path)


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    table, target = with_categories("wine")
    table = table[["one", "two", "three"]]
    model = xgboost.XGBClassifier(n_estimators=5).fit(table, target)
    proved(converter.adopt(model), table[["three", "one", "two"]], tmp_path)


def test_what_cannot_be_right_is_refused(tmp_path: Path) -> None:
    rows, target = holed("cancer")
    raw = xgboost.train(
        {"base_score": 0.0},
        xgboost.DMatrix(rows, target),
        2,
        obj=lambda p, d: (p - d.get_label(), np.ones(len(p))),
    )
    proved(converter.adopt(raw), rows, tmp_path)
    with pytest.raises(Unsupported, match="NaN"):
        converter.adopt(xgboost.XGBClassifier(n_estimators=2, missing=0.0).fit(rows, target))
    with pytest.raises(Unsupported, match="shares"):
        converter.adopt(
            xgboost.XGBClassifier(n_estimators=2, objective="binary:hinge").fit(rows, target)
        )
    (tmp_path / "bad.json").write_text('{"learner": 1}')
    with pytest.raises(Corrupt):
        converter.load(tmp_path / "bad.json")
