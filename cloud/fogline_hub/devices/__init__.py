"""Who may be in the fleet: enrolment tokens, devices, and their logins."""

from fogline_hub.devices.devices import Devices
from fogline_hub.devices.enrolment import Endpoints, Enrolment
from fogline_hub.devices.records import Device, Login, Token
from fogline_hub.devices.tokens import Tokens

__all__ = ["Device", "Devices", "Endpoints", "Enrolment", "Login", "Token", "Tokens"]
