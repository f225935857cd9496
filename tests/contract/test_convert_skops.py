"""skops files: linear models need no isolation, forests do, and foreign types are told by name."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fogline.errors import Corrupt, Unsupported
from fogline.sandbox import Mechanism
from fogline_hub.convert import Conversion, ConversionLimits, ConversionResult, Verdict, convert
from tests.rooms import needs_isolation
from tests.trained import bundled, save_matrix

skops_io = pytest.importorskip("skops.io")

NOTHING = frozenset({Mechanism.BUBBLEWRAP, Mechanism.LANDLOCK, Mechanism.SECCOMP})
"""Left out, so that neither files nor processes are isolated."""


def _converted(
    folder: Path, source: Path, without: frozenset[Mechanism] = frozenset()
) -> ConversionResult:
    features, target = bundled("cancer")
    return convert(
        Conversion(
            source=source,
            sample=save_matrix(folder / "sample.parquet", features, target),
            target="y",
            out=folder / "out",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            limits=ConversionLimits(without=without),
        )
    )


def _saved(folder: Path, estimator: object) -> Path:
    features, target = bundled("cancer")
    estimator.fit(features, target)  # type: ignore[attr-defined]
    skops_io.dump(estimator, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.parametrize("without", [frozenset(), NOTHING])
def test_a_linear_model_is_read_without_trust_also_where_nothing_is_isolated(
    tmp_path: Path, without: frozenset[Mechanism]
) -> None:
    source = _saved(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()))
    result = _converted(tmp_path, source, without)
    assert result.parity.verdict is not Verdict.DIVERGES
    assert ("files" in result.parity.isolation) is not bool(without)


@needs_isolation
def test_a_forest_is_read_where_the_child_is_isolated(tmp_path: Path) -> None:
    source = _saved(tmp_path, RandomForestClassifier(5, random_state=0))
    assert _converted(tmp_path, source).parity.verdict is not Verdict.DIVERGES


def test_a_forest_is_refused_by_its_types_where_nothing_is_isolated(tmp_path: Path) -> None:
    source = _saved(tmp_path, RandomForestClassifier(5, random_state=0))
    with pytest.raises(Unsupported, match=r"may run code .*Tree.*bubblewrap"):
        _converted(tmp_path, source, NOTHING)


def test_a_function_of_another_module_is_refused_where_nothing_is_isolated(tmp_path: Path) -> None:
    source = _saved(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()))
    evil = tmp_path / "evil.skops"
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(evil, "w") as made:
        for name in whole.namelist():
            data = whole.read(name)
            if name == "schema.json":
                data = data.replace(b'"sklearn.preprocessing._data"', b'"os"')
                data = data.replace(b'"StandardScaler"', b'"_Environ"')
            made.writestr(name, data)
    with pytest.raises(Unsupported, match=r"may run code \(.*os\._Environ"):
        _converted(tmp_path, evil, NOTHING)


def test_what_is_no_skops_file_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"no zip")
    with pytest.raises(Corrupt, match="no skops file"):
        _converted(tmp_path, tmp_path / "model.skops")
