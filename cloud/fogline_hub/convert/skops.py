"""skops files of scikit-learn estimators: read without trust where their types allow. Owns skops.

skops makes objects of named types alone, and knows which of scikit-learn's, NumPy's and SciPy's are
harmless. Others, scikit-learn's own `Tree` and the predictors of histogram boosting among them, are
made by their own code (`__setstate__`, `__reduce__`), so a forest is code as in a pickle: it is
read where the child is isolated, and refused elsewhere.
"""

from pathlib import Path

import skops.io

from fogline.errors import Corrupt, Unsupported
from fogline.sandbox import ISOLATED, held, way_out
from fogline_hub.convert.dataset import shown_names
from fogline_hub.convert.sklearn.loading import load_by
from fogline_hub.convert.source import Trained


def load(path: Path) -> Trained:
    """Loads and checks a fitted estimator.

    Raises:
        Corrupt: it is no skops file.
        Unsupported: types in it are code, and this process is not isolated; and as `load_by`.
        InvalidInput: it is not fitted.
    """
    trusted = _types_to_trust(path, is_isolated=held() >= ISOLATED)
    return load_by(path, lambda: skops.io.load(path, trusted=trusted))


def _types_to_trust(path: Path, *, is_isolated: bool) -> list[str]:
    try:
        found: list[str] = skops.io.get_untrusted_types(file=path)
    except Exception as e:  # whatever a reader of zip and JSON raises on a stranger's bytes
        raise Corrupt(f"{path.name}: is no skops file: {type(e).__name__}") from e
    if found and not is_isolated:
        raise Unsupported(
            f"{path.name}: holds types that may run code ({shown_names(tuple(found))}): "
            f"{way_out(ISOLATED - held())}"
        )
    return found
