"""The front on an event loop: its thread, its listeners, its end. uvloop, or asyncio without it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from fogline_edge.serving.calls import Endpoint, FrontCounts, Listener, OnReady, nothing
from fogline_edge.serving.front import tls
from fogline_edge.serving.front.accept import Connections
from fogline_edge.serving.front.config import FrontConfig
from fogline_edge.serving.front.poll import Poll
from fogline_edge.serving.front.sockets import Bound, bind_all

_LOG = logging.getLogger(__name__)

DRAIN_POLL_S = 0.02
"""How often a drain looks whether everybody has left."""
NOTICE_S = 0.5
"""How long a peer may take to answer that it has heard of the end."""
CLOSE_S = 1.0
"""How long the last bytes may take to leave."""


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Http2Front:
    """A `Front`; starts once."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        config: FrontConfig,
        make_loop: Callable[[], asyncio.AbstractEventLoop] = new_loop,
    ) -> None:
        self._listeners = tuple(listeners)
        self._config = config
        self._make_loop = make_loop
        self._running: _Running | None = None

    def start(
        self, on_ready: OnReady, on_written: Callable[[], None] = nothing
    ) -> tuple[Endpoint, ...]:
        """See `Front.start`."""
        contexts = [
            tls.Renewed(one.tls, tls.context_of) if one.tls else None for one in self._listeners
        ]
        bound = bind_all(self._listeners, self._config)
        loop = self._make_loop()
        connections = Connections(loop, Poll(loop, on_ready, on_written, self._config))
        self._running = _Running(loop, connections, bound)
        for one, context in zip(bound, contexts, strict=True):
            connections.listen(one, context)
        self._running.start()
        return tuple(one.endpoint for one in bound)

    def drain(self, grace_s: float) -> None:
        """See `Front.drain`; a second time it does nothing."""
        if self._running is not None:
            self._running.drain(grace_s)

    def counts(self) -> FrontCounts:
        return self._running.connections.counts() if self._running else FrontCounts()


class _Running:
    """The thread of a front that has started."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Connections, bound: Sequence[Bound]
    ) -> None:
        self.connections = connections
        self._loop = loop
        self._bound = bound
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._is_draining = False
        self._deadline = 0.0

    def start(self) -> None:
        self._thread.start()

    def drain(self, grace_s: float) -> None:
        with suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(partial(self._begin_drain, grace_s))
        self._thread.join()

    def _run(self) -> None:
        try:
            self.connections.begin()
            self._loop.run_forever()
        except Exception:  # the thread's own boundary: nobody else would say why calls hang
            _LOG.exception("the front has stopped")
        finally:
            self.connections.abort()
            self._loop.run_until_complete(asyncio.sleep(0))  # in which transports close sockets
            for one in self._bound:
                one.close()
            self._loop.close()

    def _begin_drain(self, grace_s: float) -> None:
        if self._is_draining:
            return
        self._is_draining = True
        now = self._loop.time()
        self._deadline = now + grace_s
        self.connections.close_listeners()
        self._loop.call_later(NOTICE_S, self.connections.leave)
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        if not len(self.connections) or now >= self._deadline + CLOSE_S:
            self._loop.stop()
        else:
            if now >= self._deadline:
                self.connections.stop()
            self._loop.call_later(DRAIN_POLL_S, self._look)
