"""Servers in a thread of this process, so that tests see what is inside them while real clients ask them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette


@dataclass(frozen=True)
class Loopback:
    """A server.

    Attributes:
        url: Where it answers.
        server: Ends when its `should_exit` is set.
        thread: Where it runs.
    """

    url: str
    server: uvicorn.Server
    thread: threading.Thread


@contextmanager
def listening(app: Starlette) -> Iterator[Loopback]:
    """A server of an application at a free port of this machine."""
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Loopback(url=f"http://127.0.0.1:{port}", server=server, thread=thread)
    finally:
        server.should_exit = True
        thread.join()
