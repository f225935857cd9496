"""The signed repository: what is published, what may change in it, and the operator's side."""

from fogline_hub.delivery.create import OnlineKeys, RootKeys, create_root, publish_first
from fogline_hub.delivery.metadata import Target
from fogline_hub.delivery.operator import (
    OperatorKeys,
    delegate_auto,
    load_operator,
    sign_target,
    withdraw_auto,
)
from fogline_hub.delivery.policy import DeliveryBounds
from fogline_hub.delivery.repository import OnlineSigner, Repository

__all__ = [
    "DeliveryBounds",
    "OnlineKeys",
    "OnlineSigner",
    "OperatorKeys",
    "Repository",
    "RootKeys",
    "Target",
    "create_root",
    "delegate_auto",
    "load_operator",
    "publish_first",
    "sign_target",
    "withdraw_auto",
]
