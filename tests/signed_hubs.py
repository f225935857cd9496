"""A hub's signed repository behind a real HTTP server that can be told to misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fogline.bundle import read_bundle
from fogline.clock import Clock, SystemClock
from fogline.desired import DesiredModel, target_path
from fogline.errors import NotFound
from fogline.identity import ENROLL_URL, EnrollRequest, Identity
from fogline.records import canonical_json, decode_json
from fogline_hub.delivery import OperatorKeys, Repository, load_operator, sign_target
from fogline_hub.signer import create_trust
from fogline_hub.signer.desk import Desk
from fogline_hub.signer.trust import open_desk

API_SECRET = "secret-of-the-device"


@dataclass
class Reply:
    """What the server says instead of the truth."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """Content-Length where it is not the body's."""


@dataclass
class SignedHub:
    """Everything of a hub that delivery touches; `replies` overrides single paths."""

    folder: Path
    clock: Clock
    desk: Desk
    repository: Repository
    operator: OperatorKeys
    root: bytes
    url: str = ""
    replies: dict[str, Callable[[bytes], Reply]] = field(default_factory=dict)
    """By path; given the true body, returns what is said."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range header of every request with the device's secret."""
    enrolled: list[EnrollRequest] = field(default_factory=list)

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    def add_blob(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return digest

    def push(self, bundle: Path, version: int) -> DesiredModel:
        """Uploads and signs a bundle, as an operator does."""
        read = read_bundle(bundle)
        for entry in read.manifest.files:
            self.add_blob((bundle / entry.path).read_bytes())
        return self.sign((bundle / "manifest.json").read_bytes(), read.manifest.name, version)

    def sign(self, manifest: bytes, name: str, version: int) -> DesiredModel:
        target = target_path(name, version)
        proposed = sign_target(
            self.repository.current_targets(),
            self.operator,
            target,
            manifest,
            now=self.clock.now(),
        )
        self.repository.publish_targets(proposed)
        return DesiredModel(
            name=name, version=version, manifest=self.add_blob(manifest), target=target
        )

    def identity(self) -> Identity:
        return Identity(
            device="dev1",
            name="station",
            group="default",
            hub_url=self.url,
            api_secret=API_SECRET,
            mqtt_host="127.0.0.1",
            mqtt_port=1883,
            mqtt_client_id="client",
            mqtt_username="dev1",
            mqtt_password="password",
            up_key="00" * 32,
            down_key="11" * 32,
            tuf_root=self.root.decode(),
        )

    def truth(self, path: str) -> bytes:
        if path.startswith("/tuf/"):
            return self.repository.file(path.removeprefix("/tuf/")).read_bytes()
        if path.startswith("/blobs/") and (self.blobs / path[7:]).is_file():
            return (self.blobs / path[7:]).read_bytes()
        raise NotFound(path)


def make_hub(folder: Path, clock: Clock | None = None) -> SignedHub:
    """A hub without a server."""
    ticking = clock or SystemClock()
    root = create_trust(folder, folder / "operator", ticking)
    desk = open_desk(folder, ticking)
    (folder / "blobs").mkdir()
    return SignedHub(
        folder=folder,
        clock=ticking,
        desk=desk,
        repository=Repository(folder / "tuf", desk, ticking),
        operator=load_operator(folder / "operator"),
        root=root,
    )


@contextmanager
def serving(hub: SignedHub) -> Iterator[SignedHub]:
    """Serves the hub on loopback until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    hub: SignedHub
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        hub = self.server.hub
        if self.headers.get("Authorization") != f"Bearer {API_SECRET}":
            self._reply(Reply(status=401))
            return
        wanted = self.headers.get("Range", "")
        hub.requests.append((self.path, wanted))
        try:
            body = hub.truth(self.path)
        except NotFound:
            self._reply(Reply(status=404))
            return
        if self.path in hub.replies:
            self._reply(hub.replies[self.path](body))
        elif wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            described = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._reply(Reply(status=206, body=body[start:], headers={"Content-Range": described}))
        else:
            self._reply(Reply(body=body))

    def do_POST(self) -> None:
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != ENROLL_URL:
            self._reply(Reply(status=404))
            return
        hub.enrolled.append(decode_json(body, EnrollRequest, "request"))
        answer = canonical_json(hub.identity())
        change = hub.replies.get(self.path)
        self._reply(change(answer) if change is not None else Reply(body=answer))

    def _reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.promised is None else reply.promised
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        if length != len(reply.body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Silent."""


def days(count: float) -> timedelta:
    return timedelta(days=count)
