"""LightGBM on real data: each booster and objective, missing values, categories, its own files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.errors import Corrupt, InvalidInput, Unsupported
from tests.boosters import dataset, holed, proved, with_categories

lightgbm = pytest.importorskip("lightgbm")
converter = pytest.importorskip("fogline_hub.convert.lightgbm")

QUIET: dict[str, Any] = {"verbose": -1, "n_estimators": 12, "num_leaves": 8}
BAGGED = {"bagging_freq": 1, "bagging_fraction": 0.6}
CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("cancer", {}),
    ("cancer", {"sigmoid": 2.5}),
    ("cancer", {"boosting_type": "dart", "drop_rate": 0.5}),
    ("cancer", {"boosting_type": "rf"} | BAGGED),
    ("cancer", {"zero_as_missing": True}),
    ("cancer", {"use_missing": False}),
    ("wine", {}),
    ("wine", {"objective": "multiclassova", "sigmoid": 1.5}),
    ("wine", {"boosting_type": "rf"} | BAGGED),
    ("wine", {"zero_as_missing": True}),
]
OBJECTIVES: list[dict[str, Any]] = [
    {"objective": "regression"},
    {"objective": "regression", "reg_sqrt": True},
    {"objective": "regression_l1"},
    {"objective": "huber"},
    {"objective": "fair"},
    {"objective": "quantile", "alpha": 0.3},
    {"objective": "mape"},
    {"objective": "poisson"},
    {"objective": "gamma"},
    {"objective": "tweedie"},
    {"objective": "regression", "boosting_type": "rf"} | BAGGED,
    {"objective": "regression", "data_sample_strategy": "goss"},
]


@pytest.mark.parametrize(("data", "options"), CLASSIFIERS)
def test_a_classifier_answers_as_before(tmp_path: Path, data: str, options: dict[str, Any]) -> None:
    rows, target = holed(data)
    model = lightgbm.LGBMClassifier(**QUIET, **options).fit(rows[::2], target[::2])
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("options", OBJECTIVES)
def test_a_regressor_answers_as_before(tmp_path: Path, options: dict[str, Any]) -> None:
    rows, target = holed("diabetes")
    model = lightgbm.LGBMRegressor(**QUIET, **options).fit(rows, target)
    parity = proved(converter.adopt(model), rows, tmp_path)
    assert parity.max_abs_difference < 1e-9


@pytest.mark.parametrize("objective", ["cross_entropy", "cross_entropy_lambda"])
def test_shares_between_zero_and_one_are_learnt_and_kept(tmp_path: Path, objective: str) -> None:
    rows, target = holed("diabetes")
    model = lightgbm.LGBMRegressor(**QUIET, objective=objective).fit(rows, target / 400)
    proved(converter.adopt(model), rows, tmp_path)


def test_labels_may_be_text(tmp_path: Path) -> None:
    rows, target = holed("wine")
    names = np.array(["red", "amber", "green"])[target]
    trained = converter.adopt(lightgbm.LGBMClassifier(**QUIET).fit(rows, names))
    assert trained.labels == ("amber", "green", "red")
    proved(trained, rows, tmp_path)


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg"])
def test_a_ranker_answers_as_before(tmp_path: Path, objective: str) -> None:
    rows, target = holed("diabetes")
    model = lightgbm.LGBMRanker(**QUIET, objective=objective)
    model.fit(rows[:440], target[:440].astype(int) // 80, group=[20] * 22)
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("one_hot", [2, 100])
@pytest.mark.parametrize("data", ["cancer", "wine", "diabetes"])
def test_categories_of_a_table_are_found_by_their_values(
    tmp_path: Path, data: str, one_hot: int
) -> None:
    table, target = with_categories(data)
    table = table.rename(columns={"one": "number one"})
    kind = lightgbm.LGBMRegressor if data == "diabetes" else lightgbm.LGBMClassifier
    model = kind(**QUIET, max_cat_to_onehot=one_hot, min_data_per_group=5, cat_smooth=1)
    trained = converter.adopt(model.fit(table, target))
    assert len(trained._predictor.model.members)
    proved(trained, table, tmp_path)


def test_codes_that_were_said_to_be_categories_are_truncated(tmp_path: Path) -> None:
    rows, target = holed("wine")
    rng = np.random.default_rng(3)
    codes = (target * 7 + rng.integers(0, 3, len(target))) % 11
    rows = np.column_stack([rows[:, :3], codes])
    model = lightgbm.LGBMClassifier(**QUIET, min_data_per_group=5, cat_smooth=1)
    model.fit(rows, target, categorical_feature=[3])
    tried = np.concatenate([rows, rows])
    values = [0.5, -0.5, -3.0, 3.5, 10.0, 11.0, 1e10, -1e10, np.nan]
    tried[len(rows) :, 3] = rng.choice(values, len(rows))
    proved(converter.adopt(model), tried, tmp_path)


@pytest.mark.parametrize("is_file", [True, False])
def test_early_stopping_cuts_at_the_best_iteration(tmp_path: Path, is_file: bool) -> None:
    rows, target = holed("wine")
    model = lightgbm.LGBMClassifier(**(QUIET | {"n_estimators": 80, "learning_rate": 0.8}))
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(rows[::2], target[::2], eval_X=rows[1::2], eval_y=target[1::2], callbacks=[stop])
    assert 0 < model.best_iteration_ < 80
    path = tmp_path / "model.txt"
    model.booster_.save_model(path)
    trained = converter.load(path) if is_file else converter.adopt(model)
    proved(trained, rows, tmp_path)
    answers = trained.answers(trained.select(dataset(rows), None))
    np.testing.assert_array_equal(answers.numbers, model.predict_proba(rows))


def test_what_cannot_be_right_is_refused(tmp_path: Path) -> None:
    rows, target = holed("diabetes")
    rows = np.nan_to_num(rows)
    with pytest.raises(Unsupported, match="linear_tree"):
        converter.adopt(lightgbm.LGBMRegressor(**QUIET, linear_tree=True).fit(rows, target))

    def squares(actual: Any, predicted: Any) -> Any:
        return predicted - actual, np.ones_like(predicted)

    own = lightgbm.LGBMClassifier(**QUIET, objective=squares).fit(rows, target > 100)
    with pytest.raises(Unsupported, match="shares"):
        converter.adopt(own)
    proved(
        converter.adopt(lightgbm.LGBMRegressor(**QUIET, objective=squares).fit(rows, target)),
        rows,
        tmp_path,
    )
    (tmp_path / "bad.txt").write_text("tree\nversion=v4\n")
    with pytest.raises(Corrupt):
        converter.load(tmp_path / "bad.txt")
    table, target = with_categories("wine")
    trained = converter.adopt(lightgbm.LGBMClassifier(**QUIET).fit(table, target))
    with pytest.raises(InvalidInput, match="text"):
        trained.select(dataset(table.assign(word=1.0)), None)
