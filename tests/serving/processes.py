"""Server processes of a test's own, with options."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.serving.ports import free_port


@dataclass(frozen=True)
class Process:
    """A server.

    Attributes:
        process: Its process.
        port: Where it listens.
        log: What it writes.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(target: Path, folder: Path, *options: str) -> Iterator[Process]:
    """`hfpc serve` of a model, warm; `folder` gets its home and its log."""
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-m", "hfpc.cli", "serve", str(target), "--port", str(port), *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "HFPC_HOME": str(folder / "home")},
        )
    server = Process(process, port, log)
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Process) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert server.process.poll() is None, server.log.read_text()
        try:
            if httpx.get(f"{server.url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not healthy in time: {server.log.read_text()}")
