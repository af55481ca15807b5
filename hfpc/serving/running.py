"""Finding the server of a model on this machine, or starting one."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hfpc import registry as local_registry
from hfpc.errors import EndpointError
from hfpc.serving import state
from hfpc.serving.client import Client

START_SECONDS = 180.0
"""A large model on a slow disk takes minutes to load."""


@contextmanager
def found_or_started(target: str, registry: str = "") -> Iterator[str]:
    """The URL of a server of `target`: one that runs, else one that runs as long as the block.

    Args:
        target: A model folder, `NAME@ALIAS` or `NAME@VERSION`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: There is no such model.
        EndpointError: The server that was found does not come to serve the model that the target
            means now, or the one that was started does not come up.
    """
    url = find(target, registry)
    if url:
        yield url
        return
    with running(target, registry) as url:
        yield url


def find(target: str, registry: str = "", timeout: float = START_SECONDS) -> str | None:
    """The URL of a server that serves what `target` means now; None where there is none.

    A server of this target that still answers with another model is waited for: it loads the new
    one beside the old.

    Args:
        target: A model folder, `NAME@ALIAS` or `NAME@VERSION`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        timeout: Seconds to wait for the switch.

    Raises:
        ArgumentError: There is no such model.
        EndpointError: The server did not switch.
    """
    wanted = local_registry.fingerprint(local_registry.locate(target, registry))
    target = str(Path(target).absolute()) if Path(target).is_dir() else target
    place = str(local_registry.folder(registry))
    until = time.monotonic() + timeout
    for serving in state.all_servers():
        if (serving.target, serving.registry) != (target, place):
            continue
        while (served := _served(serving)) not in ("", wanted):
            if time.monotonic() > until:
                raise EndpointError(
                    f"{serving.url} still serves version {serving.version} of {target}, not the one deployed since: "
                    f"read its log, or stop process {serving.pid} and start it again"
                )
            time.sleep(0.2)
        if served:
            return serving.url
    return None


@contextmanager
def running(target: str, registry: str = "", timeout: float = START_SECONDS) -> Iterator[str]:
    """Starts a server on a free port, gives its URL once it is healthy, and stops it at the end.

    The server also stops when this process dies.

    Args:
        target: A model folder, `NAME@ALIAS` or `NAME@VERSION`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        timeout: Seconds to wait until it is healthy.

    Raises:
        EndpointError: It ended, with what it wrote, or it did not become healthy in time.
    """
    command = [sys.executable, "-m", "hfpc.serving.server", target, "--registry", registry, "--port", "0"]
    command += ["--parent", str(os.getpid())]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        state.remove(process.pid)  # what a killed server left whose process had the same number
        try:
            yield _wait(process, log, timeout)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            state.remove(process.pid)


def _wait(process: "subprocess.Popen[bytes]", log: IO[bytes], timeout: float) -> str:
    """The URL of a server process, once it is healthy."""
    until = time.monotonic() + timeout
    while process.poll() is None:
        serving = state.read(process.pid)
        if serving is not None and _served(serving):
            return serving.url
        if time.monotonic() > until:
            raise EndpointError(f"the server was not healthy within {timeout:g} seconds:\n{_tail(log)}")
        time.sleep(0.05)
    raise EndpointError(f"the server ended with status {process.returncode}:\n{_tail(log)}")


def _served(serving: state.Serving) -> str:
    """Fingerprint of the model that a server serves; "" where it does not answer, or is another by now."""
    try:
        with Client(serving.url, timeout=5) as client:
            served = client.describe()
    except EndpointError:
        return ""
    return str(served["fingerprint"]) if served["model"] == serving.name else ""


def _tail(log: IO[bytes]) -> str:
    """The end of what the server wrote."""
    log.seek(0)
    return log.read().decode(errors="replace")[-4000:].strip()
