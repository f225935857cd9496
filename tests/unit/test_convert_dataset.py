"""Tables that users hand over."""

from pathlib import Path

import numpy as np
import pytest

from fogline.errors import Corrupt, Exhausted, InvalidInput, NotFound, Unsupported
from fogline_hub.convert.dataset import DatasetLimits, read_dataset
from tests.trained import save_table


def _csv(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text)
    return path


def test_csv_columns_become_numbers_texts_and_booleans(tmp_path: Path) -> None:
    data = read_dataset(_csv(tmp_path, "n,x,city,ok\n1,0.5,Ulm,true\n2,,,false\n"))
    assert data.columns["n"].dtype == np.int64
    assert np.isnan(data.columns["x"][1])
    assert data.columns["city"].tolist() == ["Ulm", ""]
    assert data.columns["ok"].dtype == np.bool_
    assert data.rows == data.total_rows == 2


def test_parquet_and_npz_give_the_same_columns_as_csv(tmp_path: Path) -> None:
    columns = {"a": np.array([1.5, 2.5]), "b": np.array([3, 4])}
    np.savez(tmp_path / "data.npz", a=columns["a"], b=columns["b"])
    wanted = {n: c.tolist() for n, c in columns.items()}
    for path in (
        save_table(tmp_path / "data.parquet", columns),
        tmp_path / "data.npz",
        _csv(tmp_path, "a,b\n1.5,3\n2.5,4\n"),
    ):
        found = read_dataset(path).columns
        assert {n: c.tolist() for n, c in found.items()} == wanted


def test_a_matrix_in_npz_becomes_one_column_for_each_of_its_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((3, 2), np.float32), y=np.array(["a", "b", "c"]))
    data = read_dataset(tmp_path / "data.npz")
    assert list(data.columns) == ["x[0]", "x[1]", "y"]
    assert data.columns["x[1]"].dtype == np.float32


def test_a_long_table_is_thinned_evenly(tmp_path: Path) -> None:
    path = save_table(tmp_path / "data.parquet", {"x": np.arange(1000.0)})
    data = read_dataset(path, DatasetLimits(max_rows=10))
    assert data.columns["x"].tolist() == list(range(0, 1000, 100))
    assert data.total_rows == 1000


def test_dates_are_skipped_and_named_when_asked_for(tmp_path: Path) -> None:
    days = np.array(["2020-01-01"], "datetime64[D]")
    path = save_table(tmp_path / "data.parquet", {"day": days, "x": np.array([1.0])})
    data = read_dataset(path)
    assert data.skipped == ("day",)
    with pytest.raises(InvalidInput, match="'day' is neither numbers, text nor booleans"):
        data.column("day")


def test_an_unknown_target_is_told_with_what_there_is(tmp_path: Path) -> None:
    data = read_dataset(_csv(tmp_path, "a,b\n1,2\n"))
    with pytest.raises(InvalidInput, match="no column 'c'; there are 'a', 'b'"):
        data.features("c")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.csv"):
        read_dataset(tmp_path / "none.csv")


def test_other_formats_are_refused_with_those_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.xlsx"
    path.write_bytes(b"x")
    with pytest.raises(Unsupported, match=r"\.parquet, \.csv, \.npz"):
        read_dataset(path)


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_garbage_is_corrupt(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(b"\x00garbage" * 50)
    with pytest.raises(Corrupt, match="not a readable"):
        read_dataset(path)


def test_a_pickle_inside_npz_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Corrupt, match="without pickles"):
        read_dataset(tmp_path / "data.npz")


def test_ragged_csv_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=r"data\.csv"):
        read_dataset(_csv(tmp_path, "a,b\n1,2\n1,2,3\n"))


def test_a_column_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="stands twice"):
        read_dataset(_csv(tmp_path, "a,a\n1,2\n"))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        read_dataset(save_table(tmp_path / "data.parquet", {"x": np.zeros(0)}))


def test_a_file_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a\n1\n")
    with pytest.raises(Exhausted, match="at most 2"):
        read_dataset(path, DatasetLimits(max_file_bytes=2))
