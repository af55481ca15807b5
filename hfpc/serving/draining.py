"""Ending a server without losing a request.

A connection that the kernel has completed may hold a request that this process has not read yet.
Closing it, as uvicorn does with idle ones, would lose that request: so from SIGTERM on each answer
ends its connection, and the server ends when no connection is left.
"""

import asyncio
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn

from hfpc.serving.app import Slot

_KEEP_ALIVE_SECONDS = 620
"""How long a connection without a request is kept: longer than load balancers keep theirs, the longest of
which is Google Cloud's with 600 seconds. The side that ends a connection first must be the one that sends
requests, or it may send one into a connection that is just being closed."""

_IDLE_SECONDS = 2
"""How long a connection without a request is kept while the server ends: clients see the end by then."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM; SIGINT ends it as usual.

    Args:
        app: The application.
        slot: Is told that the server drains.
        listening: The socket it listens at.
        drain_seconds: Seconds during which new connections are still accepted.
        answer_seconds: Seconds that an answer takes at most.
    """

    def __init__(
        self, app: Any, slot: Slot, listening: socket.socket, *, drain_seconds: float, answer_seconds: float
    ) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(answer_seconds)),
        )
        super().__init__(config)
        self._slot = slot
        self._listening = listening
        self._drain_seconds = drain_seconds
        self._answer_seconds = answer_seconds
        self._drains_until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Starts to drain at the first SIGTERM."""
        if sig == signal.SIGTERM and not self._slot.draining:
            self._captured_signals.append(sig)
            self._drains_until = time.monotonic() + self._drain_seconds
            self._slot.draining = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether the server shall end now."""
        ends = await super().on_tick(counter)
        return ends or (self._slot.draining and time.monotonic() >= self._drains_until)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts what has connected, answers all of it, and ends."""
        if self._slot.draining and not self.should_exit:
            self._listening.listen(0)  # the kernel completes no more connections than it has
            await asyncio.sleep(0.05)  # the event loop accepts those
            for server in self.servers:
                server.close()
            await self._connections_end()
        await super().shutdown(sockets)

    async def _connections_end(self) -> None:
        """Waits until each connection has ended, or has been without a request for a while.

        It ends at another signal too, and when no answer can be due any more: a client may have stopped reading.
        """
        idle_since: dict[Any, float] = {}
        until = time.monotonic() + self._answer_seconds + _IDLE_SECONDS
        while not self.should_exit and time.monotonic() < until and (connections := self._connections()):
            now = time.monotonic()
            for connection in connections:
                busy = connection.cycle is not None and not connection.cycle.response_complete
                if busy:
                    idle_since.pop(connection, None)
                elif now - idle_since.setdefault(connection, now) > _IDLE_SECONDS:
                    connection.shutdown()
            await asyncio.sleep(0.02)

    def _connections(self) -> list[Any]:
        """Open connections, of httptools' protocol."""
        return list(self.server_state.connections)
