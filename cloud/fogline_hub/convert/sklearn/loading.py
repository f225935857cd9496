"""Files of fitted estimators: loaded and checked. The only importer of joblib.

Runs in the limited child alone: loading a pickle runs whatever code is in it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from fogline.errors import Corrupt, InvalidInput, Unsupported
from fogline_hub.convert import registry
from fogline_hub.convert.sklearn.model import SklearnModel
from fogline_hub.convert.source import SUPPORTED, Trained


def load(path: Path) -> Trained:
    """Loads and checks a fitted estimator. The file's code runs here.

    Raises:
        Corrupt: it is no pickle.
        Unsupported: it is of another scikit-learn version, or holds what is not converted.
        InvalidInput: it is not fitted.
    """
    return load_by(path, lambda: joblib.load(path))


def load_by(path: Path, read: Callable[[], object]) -> Trained:
    """What `read` makes of the file, checked; raises as `load`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            loaded = read()
        except InconsistentVersionWarning as e:
            raise Unsupported(
                f"{path.name}: {e.estimator_name} was saved with scikit-learn "
                f"{e.original_sklearn_version}, which may answer differently than the installed "
                f"{e.current_sklearn_version}: install scikit-learn=={e.original_sklearn_version}, "
                "or train and save it again"
            ) from e
        except (ImportError, AttributeError) as e:
            raise Unsupported(f"{path.name}: needs code that is not installed here: {e}") from e
        except Exception as e:
            raise Corrupt(f"{path.name}: cannot be loaded: {type(e).__name__}: {e}") from e
    adopted = registry.adopt(loaded, path)
    return adopted if adopted is not None else SklearnModel(checked(loaded, path.name))


def checked(loaded: object, name: str) -> Any:
    """The estimator, if it is a fitted one.

    Raises:
        Unsupported: it is something else.
        InvalidInput: it is not fitted.
    """
    if not isinstance(loaded, BaseEstimator):
        raise Unsupported(
            f"{name}: holds a {type(loaded).__name__}, not a scikit-learn estimator; {SUPPORTED}"
        )
    try:
        check_is_fitted(loaded)
    except NotFittedError as e:
        raise InvalidInput(f"{name}: {type(loaded).__name__} is not fitted: call fit first") from e
    except TypeError as e:
        raise Unsupported(f"{name}: {e}") from e
    return loaded
