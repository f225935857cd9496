"""CatBoost on real data: each kind of tree and loss, missing values, its own files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline.errors import Corrupt, Unsupported
from tests.boosters import dataset, holed, proved, with_categories

catboost = pytest.importorskip("catboost")
converter = pytest.importorskip("fogline_hub.convert.catboost")

QUIET: dict[str, Any] = {"verbose": 0, "iterations": 12, "allow_writing_files": False}
CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("cancer", {}),
    ("cancer", {"nan_mode": "Max"}),
    ("cancer", {"nan_mode": "Min", "grow_policy": "Lossguide"}),
    ("cancer", {"nan_mode": "Max", "grow_policy": "Depthwise"}),
    ("cancer", {"loss_function": "CrossEntropy"}),
    ("wine", {}),
    ("wine", {"nan_mode": "Max", "grow_policy": "Depthwise"}),
    ("wine", {"loss_function": "MultiClassOneVsAll"}),
]
LOSSES = [
    "RMSE",
    "MAE",
    "MAPE",
    "Quantile:alpha=0.3",
    "Expectile:alpha=0.3",
    "LogCosh",
    "Huber:delta=10",
    "Lq:q=3",
    "Poisson",
    "Tweedie:variance_power=1.5",
    "MultiQuantile:alpha=0.1,0.5",
]


@pytest.mark.parametrize(("data", "options"), CLASSIFIERS)
def test_a_classifier_answers_as_before(tmp_path: Path, data: str, options: dict[str, Any]) -> None:
    rows, target = holed(data)
    model = catboost.CatBoostClassifier(**QUIET, depth=4, **options)
    model.fit(rows[::2], target[::2])
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_regressor_answers_as_before(tmp_path: Path, loss: str) -> None:
    rows, target = holed("diabetes")
    model = catboost.CatBoostRegressor(**QUIET, loss_function=loss).fit(rows, target)
    proved(converter.adopt(model), rows, tmp_path)


def test_several_targets_are_several_scores(tmp_path: Path) -> None:
    rows, target = holed("diabetes")
    model = catboost.CatBoostRegressor(**QUIET, loss_function="MultiRMSE")
    model.fit(rows, np.column_stack([target, -target]))
    proved(converter.adopt(model), rows, tmp_path)


def test_columns_without_holes_in_training_take_them_later(tmp_path: Path) -> None:
    rows, target = holed("wine")
    model = catboost.CatBoostClassifier(**QUIET).fit(np.nan_to_num(rows), target)
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize(
    "names", [["red", "amber", "green"], [3, 1, 7], [1.0, 0.0, 2.0]], ids=["text", "int", "float"]
)
def test_labels_of_any_kind_are_kept(tmp_path: Path, names: list[Any]) -> None:
    rows, target = holed("wine")
    model = catboost.CatBoostClassifier(**QUIET).fit(rows, np.array(names)[target])
    trained = converter.adopt(model)
    expected = sorted(names) if isinstance(names[0], str) else sorted(int(n) for n in names)
    assert trained.labels == tuple(map(str, expected))
    proved(trained, rows, tmp_path)


def test_two_classes_of_booleans(tmp_path: Path) -> None:
    rows, target = holed("cancer")
    model = catboost.CatBoostClassifier(**QUIET).fit(rows, target.astype(bool))
    proved(converter.adopt(model), rows, tmp_path)


@pytest.mark.parametrize("kind", ["CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"])
def test_its_own_files_answer_as_the_class_that_wrote_them(tmp_path: Path, kind: str) -> None:
    table, target = with_categories("wine")
    table = table[["one", "two", "three", "four"]]
    model = getattr(catboost, kind)(**QUIET)
    options = {"group_id": np.arange(len(table)) // 20} if kind == "CatBoostRanker" else {}
    model.fit(table, target, **options)
    path = tmp_path / "model.cbm"
    model.save_model(str(path))
    trained = converter.load(path)
    proved(trained, table[["four", "one", "three", "two"]], tmp_path)
    answers = trained.answers(trained.select(dataset(table), None))
    asked = model.predict_proba if kind == "CatBoostClassifier" else model.predict
    np.testing.assert_array_equal(answers.numbers, asked(table).reshape(len(table), -1))


def test_a_scale_and_a_bias_are_kept(tmp_path: Path) -> None:
    rows, target = holed("diabetes")
    model = catboost.CatBoostRegressor(**QUIET).fit(rows, target)
    model.set_scale_and_bias(0.3, 17.0)
    proved(converter.adopt(model), rows, tmp_path)


def test_early_stopping_keeps_the_best_trees(tmp_path: Path) -> None:
    rows, target = holed("wine")
    model = catboost.CatBoostClassifier(**(QUIET | {"iterations": 80, "learning_rate": 0.9}))
    model.fit(rows[::2], target[::2], eval_set=(rows[1::2], target[1::2]), early_stopping_rounds=3)
    assert model.tree_count_ < 80
    proved(converter.adopt(model), rows, tmp_path)


def test_what_cannot_be_right_is_refused(tmp_path: Path) -> None:
    table, target = with_categories("wine")
    table["word"] = table["word"].astype(object).fillna("")
    table = table.drop(columns="code")
    model = catboost.CatBoostClassifier(**QUIET, cat_features=["word"]).fit(table, target)
    with pytest.raises(Unsupported, match="encode them"):
        converter.adopt(model)
    rows, target = holed("diabetes")
    model = catboost.CatBoostRegressor(**QUIET, loss_function="RMSEWithUncertainty")
    with pytest.raises(Unsupported, match="RMSEWithUncertainty"):
        converter.adopt(model.fit(rows, target))
    (tmp_path / "bad.cbm").write_bytes(b"CBM1 no model")
    with pytest.raises(Corrupt):
        converter.load(tmp_path / "bad.cbm")
