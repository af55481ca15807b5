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
BACKOFF_LIMIT = 6


class Trainer:
    """The controller of TrainJobs.

    A node that fails is started again in place, as the pods of a Job are, until more have failed than the limit allows.

    Attributes:
        backoff_limit: How many failures a job bears: Kubernetes' default, as Kubeflow's own runtimes say none.
        finish: Stands for the nodes where it is set: it is called with a job's arguments after some looks, and what
            it returns is why the job failed, "" for success.
        started: How many nodes were started as processes.
        folder: Where the homes and logs of nodes are.
    """

    def __init__(self) -> None:
        self.finish: Callable[[list[str]], str] | None = None
        self.backoff_limit = BACKOFF_LIMIT
        self.started = 0
        self.folder = Path(tempfile.mkdtemp(prefix="hfpc-trainer-"))
        self._nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._failed: dict[str, int] = {}
        self._looks: dict[str, int] = {}
        self._ports: dict[str, int] = {}

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
        for rank, code in enumerate(codes):
            if code and self._failed.setdefault(uid, 0) < self.backoff_limit:
                self._failed[uid] += 1
                self._nodes[uid][rank] = self._start_node(uid, trainer, rank)
                codes[rank] = None
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
        self._ports[uid] = free_port()
        return [self._start_node(uid, trainer, rank) for rank in range(trainer["numNodes"])]

    def _start_node(self, uid: str, trainer: dict[str, Any], rank: int) -> subprocess.Popen[bytes]:
        """The environment is what Kubeflow Trainer gives the containers of PyTorch's runtime."""
        home = self.folder / f"{uid}-{rank}"
        home.mkdir(exist_ok=True)
        given = {
            **{each["name"]: each["value"] for each in trainer.get("env", []) if "value" in each},
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_NODE_RANK": str(rank),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(self._ports[uid]),
            "HFPC_HOME": str(home),
        }
        self.started += 1
        command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
        with (home / "log.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **given})

    def logs(self) -> str:
        """What the nodes printed."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in sorted(self.folder.rglob("log.txt")))


def _end(found: dict[str, Any], failure: str) -> None:
    kind, reason = ("Failed", "JobSetFailed") if failure else ("Complete", "JobsCompleted")
    message = failure or "jobset completed successfully"
    found["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason, "message": message}]
