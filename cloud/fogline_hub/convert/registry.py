"""The converter of each framework; one small module each, imported only when it is needed."""

import importlib
from pathlib import Path

from fogline.errors import Unsupported
from fogline_hub.convert.source import Trained

LOADERS = {
    "sklearn": "fogline_hub.convert.sklearn:load",
    "skops": "fogline_hub.convert.skops:load",
    "onnx": "fogline_hub.convert.onnx:load",
    "torch": "fogline_hub.convert.torch:load",
    "keras": "fogline_hub.convert.keras:load",
    "saved_model": "fogline_hub.convert.saved_model:load",
    "xgboost": "fogline_hub.convert.xgboost:load",
    "lightgbm": "fogline_hub.convert.lightgbm:load",
    "catboost": "fogline_hub.convert.catboost:load",
}
ADOPTERS = ("xgboost", "lightgbm", "catboost")
"""Libraries whose estimators also come as pickles; their modules have `adopt(estimator)`."""
EXTRAS = {"onnx": "sklearn", "saved_model": "keras"}
"""The extra of a framework, where it has another name."""


def load(framework: str, path: Path) -> Trained:
    """Loads a source by its framework's converter. A pickle's code runs here.

    Raises:
        Unsupported: the framework is not installed; and what the converter raises.
    """
    module, _, function = LOADERS[framework].partition(":")
    try:
        loader = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as e:
        raise Unsupported(
            f"{path.name}: needs the package {e.name}, which is not installed; install it with: "
            f"pip install 'fogline[{EXTRAS.get(framework, framework)}]'"
        ) from e
    loaded: Trained = loader(path)
    return loaded


def adopt(estimator: object, path: Path) -> Trained | None:
    """A loaded estimator by the converter of its own library; None if that has none here.

    Raises:
        Unsupported: the library does not convert it, and why.
    """
    kinds = [k.__module__.partition(".")[0] for k in type(estimator).__mro__]
    library = next((k for k in kinds if k in ADOPTERS), None)
    if library is None:
        return None
    try:
        adopted: Trained = importlib.import_module(f"fogline_hub.convert.{library}").adopt(
            estimator
        )
    except Unsupported as e:
        raise Unsupported(f"{path.name}: {e}") from e
    return adopted
