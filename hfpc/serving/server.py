"""A server process for one model: loads it, answers, and follows it to its next version.

`hfpc serve` and `python -m hfpc.serving.server` both end here.
"""

import argparse
import contextlib
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from hfpc import registry as local_registry
from hfpc.errors import ArgumentError, HfpcError
from hfpc.redaction import redacted
from hfpc.serving import hosting, state, targets
from hfpc.serving.app import Slot, create_app
from hfpc.serving.contracts import catalog
from hfpc.serving.engine import ServedModel
from hfpc.serving.limits import Limits
from hfpc.serving.loading import engine_for
from hfpc.serving.telemetry import Telemetry

POLL_SECONDS = 1.0
"""How often it is looked up which model the target means: one small file is read."""
RETRY_SECONDS = 15.0
"""After how long a model that did not load is tried again."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a model is served.

    Attributes:
        target: A model folder, `NAME@ALIAS`, `NAME@VERSION`, a URI (`gs://…`, `s3://…`) or a Hub id.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        name: Name that clients ask for; "" means the target's own.
        host: Address to listen at. The default is reached from this machine only.
        port: Port to listen at; 0 takes any that is free.
        limits: What is accepted at most.
        drain_seconds: Seconds after SIGTERM during which new connections are still accepted, for
            load balancers that learn late. Requests that were accepted are answered in any case.
        log_requests: Write a line of JSON to stdout for each request.
        log_inputs: Write the inputs into it. Off, because they may be anybody's words.
        parent: Process whose end also ends the server; None for none.
    """

    target: str
    registry: str = ""
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    limits: Limits = field(default_factory=Limits)
    drain_seconds: float = 0.0
    log_requests: bool = True
    log_inputs: bool = False
    parent: int | None = None


def serve(config: ServerConfig) -> None:
    """Serves a model until the process is told to stop.

    When the target comes to mean another model (an alias is moved, a folder is written anew), that
    model is loaded beside the old one and takes its place once it is warm. What is downloaded, from
    a URI or the Hub, stays as it was at the start. The server answers probes meanwhile.

    SIGTERM ends it without losing a request: from then on it is not ready, asks clients to connect
    elsewhere, and ends once every request that it accepted is answered.

    Args:
        config: What is served and how.

    Raises:
        ArgumentError: There is no such model, or the port or the host cannot be used.
        HfpcError: The model does not load.
    """
    _Server(config).run()


class _Server:
    """A server process."""

    def __init__(self, config: ServerConfig) -> None:
        host = config.host
        self.config = config
        self.target = targets.parse(config.target, config.registry)  # fails here, before anything slow
        self.socket = _listen(host, config.port)
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        self.url = f"http://{shown}:{self.socket.getsockname()[1]}"
        self.slot = Slot()
        self.telemetry = Telemetry(
            waiting=self._waiting, log=sys.stdout if config.log_requests else None, log_inputs=config.log_inputs
        )
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.uvicorn: Any = None

    def run(self) -> None:
        """Serves until a signal comes or the first model does not load."""
        from hfpc.serving.draining import DrainingServer

        platform = hosting.from_environment()
        app = create_app(
            self.slot,
            contracts=catalog.contracts(platform),
            probes=catalog.probes(platform),
            limits=self.config.limits,
            telemetry=self.telemetry,
            lifespan=self._lifespan,
        )
        self.uvicorn = DrainingServer(
            app,
            self.slot,
            self.socket,
            drain_seconds=self.config.drain_seconds,
            answer_seconds=self.config.limits.seconds,
        )
        try:
            self.uvicorn.run(sockets=[self.socket])
        except KeyboardInterrupt:
            pass
        finally:
            self.socket.close()
        if self.failure is not None:
            raise self.failure

    def _waiting(self) -> float:
        model = self.slot.model
        return model.engine.waiting if model else 0

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        """Follows the target in a thread as long as the application runs."""
        follower = threading.Thread(target=self._follow, name="follow", daemon=True)
        follower.start()
        yield
        self.stopping.set()
        state.remove(os.getpid())

    def _follow(self) -> None:
        """Loads what the target means, now and whenever that changes."""
        loaded = failed = complaint = ""
        retry_at = 0.0
        if self.target.fixed:
            print(f"Fetching {redacted(self.target.text)}", flush=True)
        while not self.stopping.wait(POLL_SECONDS if loaded else 0):
            if self.config.parent is not None and os.getppid() != self.config.parent:
                self.uvicorn.should_exit = True
                return
            if loaded and self.target.fixed:
                continue
            wanted = ""
            try:
                found = targets.find(self.target)
                wanted = f"{found.folder} {found.fingerprint}"
                if wanted == loaded or (wanted == failed and time.monotonic() < retry_at):
                    continue
                self._take(found)
                loaded = wanted
            except Exception as error:
                if self.slot.model is None:
                    self.failure = error
                    self.uvicorn.should_exit = True
                    return
                # A folder that is just being written anew, or too large for the memory there is, may load later.
                failed, retry_at = wanted, time.monotonic() + RETRY_SECONDS
                if str(error) != complaint:
                    complaint = str(error)
                    print(f"Still serving the model before: {complaint}", file=sys.stderr, flush=True)

    def _take(self, found: targets.Found) -> None:
        """Loads and warms a model, then serves it instead of the one before."""
        model = ServedModel(
            engine=engine_for(found.folder, self.config.limits, self.telemetry),
            name=self.config.name or found.name,
            version=found.version,
            fingerprint=found.fingerprint,
        )
        if self.stopping.is_set():
            return
        before, self.slot.model = self.slot.model, model
        if before is not None:
            before.engine.close()
        state.write(
            state.Serving(
                url=self.url,
                pid=os.getpid(),
                target=self.target.text,
                registry=str(local_registry.folder(self.config.registry)),
                name=model.name,
                version=model.version,
            )
        )
        version = f" version {model.version}" if model.version else ""
        print(f"Serving {model.name}{version} ({model.engine.task}) at {self.url}", flush=True)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a port that is taken is known before the model is loaded."""
    if not 0 <= port <= 65535:
        raise ArgumentError("port", port, "give a number from 0 (any that is free) to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ArgumentError("host", host, f"give an address or a name of this machine ({error.strerror})") from error
    try:
        listening = socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno == errno.EADDRNOTAVAIL:
            raise ArgumentError("host", host, f"give an address of this machine ({reason})") from error
        fix = f"{reason} at {host}: give another port, or 0 for any that is free"
        raise ArgumentError("port", port, fix) from error
    # Connections inherit it. asyncio sets it only on sockets it made itself; without it each answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def main() -> int:
    """The command `python -m hfpc.serving.server`."""
    parser = argparse.ArgumentParser(prog="python -m hfpc.serving.server", description=serve.__doc__)
    parser.add_argument("target")
    parser.add_argument("--registry", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--parent", type=int, help="stop when this process, which started this one, has ended")
    arguments = parser.parse_args()
    try:
        serve(ServerConfig(**vars(arguments), limits=hosting.from_environment().limits or Limits()))
    except HfpcError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
