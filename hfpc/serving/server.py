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
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hfpc import golden
from hfpc import registry as local_registry
from hfpc.errors import ArgumentError, DataError, HfpcError
from hfpc.serving import hosting, state
from hfpc.serving.app import Slot, create_app
from hfpc.serving.contracts import catalog
from hfpc.serving.engine import PredictionEngine, ServedModel
from hfpc.serving.limits import Limits
from hfpc.serving.telemetry import Telemetry

POLL_SECONDS = 1.0
"""How often it is looked up which model the target means: one small file is read."""


def serve(target: str, *, registry: str = "", host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serves a model until the process is told to stop.

    When the target comes to mean another model (an alias is moved, a folder is written anew), that
    model is loaded beside the old one and takes its place once it is warm.

    Args:
        target: A model folder, `NAME@ALIAS` or `NAME@VERSION`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        host: Address to listen at. The default is reached from this machine only.
        port: Port to listen at; 0 takes any that is free.

    Raises:
        ArgumentError: There is no such model, or the port or the host cannot be used.
        HfpcError: The model does not load.
    """
    _Server(target, registry, host, port).run()


class _Server:
    """A server; `parent` is the process whose end also ends it, None for none."""

    def __init__(self, target: str, registry: str, host: str, port: int, parent: int | None = None) -> None:
        local_registry.fingerprint(local_registry.locate(target, registry))  # fails here, before anything slow
        self.registered = not Path(target).is_dir()
        self.target = target if self.registered else str(Path(target).absolute())
        self.registry = registry
        self.socket = _listen(host, port)
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        self.url = f"http://{shown}:{self.socket.getsockname()[1]}"
        self.parent = parent
        self.slot = Slot()
        self.limits = Limits()
        self.telemetry = Telemetry()
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.uvicorn: Any = None

    def run(self) -> None:
        """Serves until a signal comes or the first model does not load."""
        import uvicorn

        platform = hosting.from_environment()
        app = create_app(
            self.slot,
            contracts=catalog.contracts(platform),
            probes=catalog.probes(platform),
            limits=self.limits,
            telemetry=self.telemetry,
            lifespan=self._lifespan,
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
        self.uvicorn = uvicorn.Server(config)
        try:
            self.uvicorn.run(sockets=[self.socket])
        except KeyboardInterrupt:
            pass
        finally:
            self.socket.close()
        if self.failure is not None:
            raise self.failure

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
        loaded = complaint = ""
        while not self.stopping.wait(POLL_SECONDS if loaded else 0):
            if self.parent is not None and os.getppid() != self.parent:
                self.uvicorn.should_exit = True
                return
            wanted = ""
            try:
                folder = local_registry.locate(self.target, self.registry)
                wanted = f"{folder} {local_registry.fingerprint(folder)}"
                if wanted == loaded:
                    continue
                self._take(folder)
            except Exception as error:
                if self.slot.model is None:
                    self.failure = error
                    self.uvicorn.should_exit = True
                    return
                # A folder that is just being written anew is whole again at the next look.
                if str(error) != complaint:
                    complaint = str(error)
                    print(f"Still serving the model before: {complaint}", file=sys.stderr, flush=True)
            loaded = wanted or loaded

    def _take(self, folder: Path) -> None:
        """Loads and warms the model of a folder, then serves it instead of the one before."""
        from hfpc.inference.predictor import Predictor

        fingerprint = local_registry.fingerprint(folder)
        predictor = Predictor(folder)
        with contextlib.suppress(DataError):  # a model without golden requests warms up with its first request
            predictor.respond([request["inputs"] for request in golden.read(folder)])
        model = ServedModel(
            engine=PredictionEngine(predictor, self.limits, self.telemetry.count_batch),
            name=self.target if self.registered else folder.name,
            version=folder.name if self.registered else "",
            fingerprint=fingerprint,
        )
        if self.stopping.is_set():
            return
        self.slot.model = model
        where = str(local_registry.folder(self.registry))
        pid = os.getpid()
        state.write(state.Serving(url=self.url, pid=pid, target=self.target, registry=where, version=model.version))
        version = f" version {model.version}" if self.registered else ""
        print(f"Serving {model.name}{version} ({predictor.task.name}) at {self.url}", flush=True)


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
        _Server(**vars(arguments)).run()
    except HfpcError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
