"""The API's end of the MQTT link: reports up, desired states down, rollouts moved on."""

from fogline.mqtt import Message, MqttConnection
from fogline.topics import UP_STATES
from fogline_hub.api.rooms import Rooms
from fogline_hub.broker import hub_login
from fogline_hub.config import HubFolder
from fogline_hub.rollouts import Controller, FleetLink
from fogline_hub.signer import SignerClient, socket_path


class Fleet:
    """Runs from `start` to `close`, beside the HTTP server and on the same rooms.

    Raises:
        NotFound: the broker was never prepared.
    """

    def __init__(self, folder: HubFolder, rooms: Rooms) -> None:
        self._signer = SignerClient(socket_path(folder.root), clock=rooms.clock)
        self._changed = rooms.fleet_changed
        self._connection = MqttConnection(
            f"{rooms.endpoints.mqtt_host}:{rooms.endpoints.mqtt_port}",
            login=hub_login(folder.broker, "api"),
            on_message=self._take,
            on_connect=self._changed.set,
            subscriptions=(UP_STATES,),
        )
        self._link = FleetLink(
            catalogue=rooms.catalogue,
            registry=rooms.registry,
            sealer=self._signer,
            publisher=self._connection,
            group_of=rooms.devices.group_of,
            clock=rooms.clock,
        )
        self._controller = Controller(
            catalogue=rooms.catalogue,
            registry=rooms.registry,
            link=self._link,
            clock=rooms.clock,
            changed=self._changed,
        )

    def start(self) -> None:
        self._connection.start()
        self._controller.start()

    def close(self) -> None:
        self._controller.close()
        self._connection.close()
        self._signer.close()

    def _take(self, message: Message) -> None:
        if message.is_retained:  # a broker's memory is nobody's word
            return
        self._link.receive(message.topic, message.payload)
        self._changed.set()
