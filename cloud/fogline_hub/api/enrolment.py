"""Enrolment: the one call that a stranger may make with effect."""

from fogline.identity import ENROLL_URL, EnrollRequest, Identity
from fogline_hub.api.access import Access
from fogline_hub.api.endpoint import Call, endpoint


def enroll(call: Call) -> Identity:
    return call.rooms.enrolment.enrol(call.body, call.rooms.endpoints)


routes = [endpoint("POST", ENROLL_URL, enroll, access=Access.OPEN, body=EnrollRequest)]
