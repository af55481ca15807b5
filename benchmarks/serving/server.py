"""A server process: started, waited for, weighed, and always ended with all its children."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.load import PATH, answered
from hfpc.errors import EndpointError

START_SECONDS = 180.0
POLL_SECONDS = 0.05
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A running server; `started` is the monotonic time just before its process was made."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    started: float

    def first_right_answer(self, text: str, label: str) -> float:
        """Seconds from the start of the process until `text` was given `label`.

        Raises:
            EndpointError: The process ended, or gave no right answer in time.
        """
        seen = "nothing"
        while (seconds := time.monotonic() - self.started) < START_SECONDS:
            self.check_alive()
            # A server that listens before its model is loaded may hold the answer back until it is.
            with contextlib.suppress(OSError, http.client.HTTPException):
                seen = self._ask(text, START_SECONDS - seconds)
                if answered(seen.encode()) == label:
                    return time.monotonic() - self.started
            time.sleep(POLL_SECONDS)
        raise EndpointError(
            f"no right answer within {START_SECONDS:g} seconds, but {seen[:500]}; its log is {self.log}"
        )

    def _ask(self, text: str, timeout: float) -> str:
        """The body of the answer to one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("POST", PATH, json.dumps({"inputs": text}), {"Content-Type": "application/json"})
            return connection.getresponse().read().decode(errors="replace")

    def check_alive(self) -> None:
        """Raises EndpointError where the process has ended."""
        if (status := self.process.poll()) is not None:
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
            raise EndpointError(f"the server ended with status {status}; the end of {self.log}:\n{tail}")

    def resident_mb(self) -> float:
        """Resident memory of the process and all below it, in MB, summed: pages they share count each time."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6

    def _tree(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """Ends the whole process group: asks its first process, then kills what is left."""
        tree = self._tree()
        try:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        finally:
            self._signal(signal.SIGKILL)
            self.process.wait()
            psutil.wait_procs(tree, STOP_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], port: int, scratch: Path, log: Path
) -> Iterator[Server]:
    """Starts a server in a process group of its own, and ends the group with the block.

    Both sides get the machine's environment without `OMP_NUM_THREADS`, so that each uses the cores
    as it does by default.

    Args:
        command: What to run.
        environment: Variables of its own.
        port: Where it will listen.
        scratch: The folder it runs in.
        log: What it writes goes there.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with log.open("wb") as file:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = Server(process, port, log, started)
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A port that nothing listens at now.

    Below 32768: the official stack takes no other, and clients' own ports lie above on Linux.
    """
    for port in random.sample(range(20_000, 32_768), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise EndpointError("no port between 20000 and 32767 was free in 100 tries")
