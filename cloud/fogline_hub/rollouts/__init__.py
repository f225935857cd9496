"""Desired and reported state, and the staged moves from one version to the next."""

from fogline_hub.rollouts.controller import Controller
from fogline_hub.rollouts.link import FleetLink
from fogline_hub.rollouts.outcomes import progress
from fogline_hub.rollouts.records import DeviceProgress, Plan, Rollout, show
from fogline_hub.rollouts.reports import ReportedModel, ReportedState
from fogline_hub.rollouts.rollouts import MAX_LIST, create, listing, steer
from fogline_hub.rollouts.states import Event, State
from fogline_hub.rollouts.tripwires import WavePolicy
from fogline_hub.rollouts.waves import parse_waves

__all__ = [
    "MAX_LIST",
    "Controller",
    "DeviceProgress",
    "Event",
    "FleetLink",
    "Plan",
    "ReportedModel",
    "ReportedState",
    "Rollout",
    "State",
    "WavePolicy",
    "create",
    "listing",
    "parse_waves",
    "progress",
    "show",
    "steer",
]
