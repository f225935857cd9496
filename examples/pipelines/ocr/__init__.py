"""Text in images, read by the three models that the package rapidocr-onnxruntime brings."""
