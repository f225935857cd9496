"""Whether the API answers and its catalogue can be read."""

from fogline import __version__
from fogline.records import Record
from fogline_hub import audit
from fogline_hub.api.access import Access
from fogline_hub.api.endpoint import Call, endpoint


class Health(Record, frozen=True, kw_only=True):
    status: str = "ok"
    version: str


def health(call: Call) -> Health:
    with call.rooms.catalogue.reading() as connection:
        audit.last(connection)
    return Health(version=__version__)


routes = [endpoint("GET", "/v1/health", health, access=Access.OPEN)]
