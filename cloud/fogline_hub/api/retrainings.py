"""Retrainings: what set them off, how they stand, and starting one by hand."""

from fogline.errors import Conflict
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.automation import CHAMPION
from fogline_hub.retrain import Retraining, store


def list_retrainings(call: Call) -> tuple[Retraining, ...]:
    limit = call.integer("limit", 100, low=1, high=store.MAX_LIST)
    with call.rooms.catalogue.reading() as connection:
        return store.listing(connection, call.query.get("model"), limit=limit)


def show_retraining(call: Call) -> Retraining:
    number = call.integer("retraining", 0, low=1, high=2**31)
    with call.rooms.catalogue.reading() as connection:
        return store.show(connection, number)


def start_retraining(call: Call) -> Retraining:
    """Starts one as if an alarm had, on all of the policy's history."""
    name, rooms = call.path["name"], call.rooms
    with rooms.catalogue.transaction() as connection:
        champion = rooms.registry.model(connection, name).aliases.get(CHAMPION)
        automation = store.automation(connection, name)
        if automation is None or automation.retrain is None:
            raise Conflict(
                f"nothing says how {name} is retrained; first: fogline models automate {name} "
                "--policy FILE, with a [retrain] table"
            )
        if champion is None:
            raise Conflict(f"{name} has no alias {CHAMPION}, so there is nothing to beat")
        return store.create(
            connection,
            model=name,
            champion=champion,
            alarm=None,
            change_us=0,
            asked_by=call.caller.actor,
            now=rooms.clock.now(),
        )


routes = [
    endpoint("GET", "/v1/retrainings", list_retrainings, query=("model", "limit")),
    endpoint("GET", "/v1/retrainings/{retraining}", show_retraining),
    endpoint("POST", "/v1/models/{name}/retrainings", start_retraining),
]
