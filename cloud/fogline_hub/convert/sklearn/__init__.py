"""scikit-learn: estimators and pipelines, loaded, asked and written as ONNX."""

from fogline_hub.convert.sklearn.loading import load

__all__ = ["load"]
