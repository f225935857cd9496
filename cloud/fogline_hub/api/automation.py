"""What the hub does with a model by itself."""

from fogline.errors import Conflict, NotFound
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.retrain import Automation, store
from fogline_hub.rollouts import parse_waves


def show_automation(call: Call) -> Automation:
    name = call.path["name"]
    with call.rooms.catalogue.reading() as connection:
        call.rooms.registry.model(connection, name)
        found = store.automation(connection, name)
    if found is None:
        raise NotFound(
            f"nothing is automated for {name}; see: fogline models automate {name} --policy FILE"
        )
    return found


def set_automation(call: Call) -> Automation:
    asked: Automation = call.body
    name, rooms = call.path["name"], call.rooms
    parse_waves(asked.waves)
    if asked.retrain is not None and name not in rooms.repository.auto_models():
        raise Conflict(
            f"no operator lets the hub sign versions of {name}, so it cannot retrain it; sign that "
            f"first: fogline models automate {name} --policy FILE --keys DIR"
        )
    with rooms.catalogue.transaction() as connection:
        rooms.registry.model(connection, name)
        store.set_automation(
            connection, name, asked, actor=call.caller.actor, now=rooms.clock.now()
        )
    return asked


routes = [
    endpoint("GET", "/v1/models/{name}/automation", show_automation),
    endpoint("PUT", "/v1/models/{name}/automation", set_automation, body=Automation),
]
