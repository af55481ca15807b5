"""The containers of deployed models: servers that run."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO

import httpx
from google.cloud import aiplatform_v1 as v1

from tests.cloud.vertex_wire import VertexError
from tests.serving.ports import free_port

START_SECONDS = 120.0


class Containers:
    """Starts this project's server for a model, as Vertex AI starts the model's container.

    The same model is started once, so that hundreds of deployments are quick.

    Attributes:
        addresses: Image to the address of a server that stands for its containers; for other images one is started.
        started: How many servers were started.
        client: Asks them; one for all, as making one takes longer than asking.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.started = 0
        self.client = httpx.Client(timeout=60, trust_env=False)
        self._running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
        self._lock = threading.Lock()

    def address(self, model: v1.Model) -> str:
        """Where the model's container takes predictions; starts it if it does not run.

        Raises:
            VertexError: It ended, or was not healthy in time.
        """
        spec = model.container_spec
        if spec.image_uri in self.addresses:
            return self.addresses[spec.image_uri]
        key = f"{spec} {model.artifact_uri}"
        with self._lock:
            if key not in self._running:
                self._running[key] = self._start(spec, model.artifact_uri)
            return self._running[key][1]

    def close(self) -> None:
        with self._lock:  # one that is being started ends too
            for process, _ in self._running.values():
                process.kill()
                process.wait()
            self._running.clear()
        self.client.close()

    def _start(self, spec: v1.ModelContainerSpec, artifact: str) -> tuple[subprocess.Popen[bytes], str]:
        """The environment is what Vertex AI gives a container."""
        port = free_port()
        environment = {
            **os.environ,
            **{each.name: each.value for each in spec.env},
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": spec.health_route,
            "AIP_PREDICT_ROUTE": spec.predict_route,
            "AIP_STORAGE_URI": artifact,
        }
        log = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the process
        command = [sys.executable, "-m", "hfpc.cli", "serve"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.started += 1
        health = f"http://127.0.0.1:{port}{spec.health_route}"
        if not _healthy(process, health):
            process.kill()
            process.wait()
            raise VertexError("FAILED_PRECONDITION", f"Model server never became ready: {_tail(log)}")
        return process, f"http://127.0.0.1:{port}{spec.predict_route}"


def _healthy(process: subprocess.Popen[bytes], health: str) -> bool:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(health, timeout=5, trust_env=False).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-500:]
