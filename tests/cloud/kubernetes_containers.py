"""The containers of predictors: servers that run."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from hfpc import manifest, storage
from tests.serving.ports import free_port


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    address: str
    log: IO[bytes]
    healthy: bool = False


class Containers:
    """Starts this project's server for a predictor, as a pod of KServe does: once for the same one.

    For a predictor of KServe's Hugging Face runtime it is our server too; see `kubernetes_gateway`.

    Attributes:
        volumes: Name of a persistent volume claim to the folder that stands for it.
        started: How many servers were started.
    """

    def __init__(self) -> None:
        self.volumes: dict[str, Path] = {}
        self.started = 0
        self._client = httpx.Client(timeout=2, trust_env=False)  # making one takes longer than asking
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    def state(self, predictor: dict[str, Any]) -> tuple[bool, str]:
        """Whether the container is ready, and why it ended if it did; starts it if it does not run."""
        running = self._of(predictor)
        if running.process.poll() is not None:
            running.log.seek(0)
            return False, running.log.read().decode(errors="replace")[-500:]
        if not running.healthy:
            try:
                answer = self._client.get(f"{running.address}/ready")
                running.healthy = answer.status_code == 200
            except httpx.HTTPError:
                return False, ""
        return running.healthy, ""

    def address(self, predictor: dict[str, Any]) -> str:
        """Where the container answers."""
        return self._of(predictor).address

    def labels(self, uri: str) -> list[str]:
        """The labels of a model by number, which the Hugging Face runtime reads from its configuration."""
        store, path = storage.filesystem(self._place(uri))
        content = json.loads(store.cat_file(f"{path}/{manifest.FILE_NAME}"))
        return list(content["dataset"]["label_names"])

    def close(self) -> None:
        with self._lock:
            for running in self._running.values():
                running.process.kill()
                running.process.wait()
                running.log.close()
            self._running.clear()
        self._client.close()

    def _place(self, uri: str) -> str:
        if not uri.startswith("pvc://"):
            return uri
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        return str(self.volumes[claim] / path)

    def _of(self, predictor: dict[str, Any]) -> _Running:
        from tests.cloud.kubernetes_kserve import uri_of

        uri = uri_of(predictor)
        if "containers" in predictor:
            variables = {each["name"]: each["value"] for each in predictor["containers"][0]["env"]}
        else:
            options = dict(each.removeprefix("--").split("=", 1) for each in predictor["model"]["args"])
            variables = {"HFPC_MODEL_NAME": options["model_name"]}
        variables.pop("STORAGE_URI", None)
        key = str([uri, sorted(variables.items())])
        with self._lock:
            if key not in self._running:
                self._running[key] = self._start(self._place(uri), variables)
            return self._running[key]

    def _start(self, target: str, variables: dict[str, str]) -> _Running:
        port = free_port()
        log = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the process
        command = [sys.executable, "-m", "hfpc.cli", "serve", target, "--port", str(port)]
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.started += 1
        return _Running(process, f"http://127.0.0.1:{port}", log)
