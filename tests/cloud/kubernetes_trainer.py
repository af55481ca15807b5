"""Kubeflow Trainer on the loopback cluster: the nodes of a TrainJob are processes of this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.serving.ports import free_port

RUNTIMES = ("torch-distributed",)


class Trainer:
    """The controller of TrainJobs.

    Attributes:
        finish: Stands for the nodes where it is set: it is called with a job's arguments after some looks, and what
            it returns is why the job failed, "" for success.
        started: How many nodes were started as processes.
        folder: Where the homes and logs of nodes are.
    """

    def __init__(self) -> None:
        self.finish: Callable[[list[str]], str] | None = None
        self.started = 0
        self.folder = Path(tempfile.mkdtemp(prefix="hfpc-trainer-"))
        self._nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._looks: dict[str, int] = {}

    def check(self, body: dict[str, Any]) -> str:
        name = body["spec"]["runtimeRef"]["name"]
        return "" if name in RUNTIMES else f'ClusterTrainingRuntime.trainer.kubeflow.org "{name}" not found'

    def remove(self, found: dict[str, Any]) -> None:
        for process in self._nodes.pop(found["metadata"]["uid"], []):
            process.terminate()
            process.wait()

    def advance(self, found: dict[str, Any]) -> None:
        if found["status"].get("conditions"):
            return
        uid, trainer = found["metadata"]["uid"], found["spec"]["trainer"]
        if self.finish is not None:
            self._looks[uid] = self._looks.get(uid, 0) + 1
            if self._looks[uid] > 2:
                _end(found, self.finish(trainer["args"]))
            return
        if uid not in self._nodes:
            self._nodes[uid] = self._start(uid, trainer)
        codes = [process.poll() for process in self._nodes[uid]]
        running = codes.count(None)
        node = {"name": "node", "active": int(running > 0), "ready": int(running > 0)}
        found["status"]["jobsStatus"] = [{**node, "succeeded": 0, "failed": 0, "suspended": 0}]
        if any(codes):
            _end(found, "jobset failed due to one or more job failures")
        elif not running:
            _end(found, "")

    def kill(self) -> None:
        """Kills every node at once, as where a spot machine is taken away."""
        for nodes in self._nodes.values():
            for process in nodes:
                process.kill()

    def _start(self, uid: str, trainer: dict[str, Any]) -> list[subprocess.Popen[bytes]]:
        """The environment is what Kubeflow Trainer gives the containers of PyTorch's runtime."""
        port, nodes = free_port(), []
        for rank in range(trainer["numNodes"]):
            home = self.folder / f"{uid}-{rank}"
            home.mkdir()
            given = {
                **{each["name"]: each["value"] for each in trainer.get("env", [])},
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
                "HFPC_HOME": str(home),
            }
            command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
            with (home / "log.txt").open("wb") as log:
                nodes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **given}))
            self.started += 1
        return nodes

    def logs(self) -> str:
        """What the nodes printed."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in sorted(self.folder.rglob("log.txt")))


def _end(found: dict[str, Any], failure: str) -> None:
    kind, reason = ("Failed", "JobSetFailed") if failure else ("Complete", "JobsCompleted")
    message = failure or "jobset completed successfully"
    found["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason, "message": message}]
