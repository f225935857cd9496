"""The process that holds the hub's online keys, and the way to ask it."""

from fogline_hub.signer.approval import Approval
from fogline_hub.signer.client import SignerClient
from fogline_hub.signer.messages import SealItem
from fogline_hub.signer.trust import create_trust, socket_path

__all__ = ["Approval", "SealItem", "SignerClient", "create_trust", "socket_path"]
