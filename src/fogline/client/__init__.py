"""SDK for applications: see `fogline.client.client`."""

from fogline.client.client import Client, FeedbackReceipt, ModelInfo, Prediction
from fogline.client.inputs import columns_of_rows

__all__ = ["Client", "FeedbackReceipt", "ModelInfo", "Prediction", "columns_of_rows"]
