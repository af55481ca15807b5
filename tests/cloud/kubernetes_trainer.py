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
LONGEST_POD_NAME = 63


class Trainer:
    """The controller of TrainJobs.

    A node that fails is started again in place, as the pods of a Job are, until more have failed than the limit allows.
    Where a job is deleted before its JobSet, that stays for some looks, and a new job of the name takes it for its own.

    Attributes:
        backoff_limit: How many failures a job bears: Kubernetes' default, as Kubeflow's own runtimes say none.
        finish: Stands for the nodes where it is set: it is called with a job's arguments after some looks, and what
            it returns is why the job failed, "" for success.
        obstacle: Status of a pod that cannot start, e.g. for want of its image; {} lets pods start.
        started: How many nodes were started as processes.
        folder: Where the homes and logs of nodes are.
    """

    def __init__(self) -> None:
        self.forget()
        self.backoff_limit = BACKOFF_LIMIT
        self.started = 0
        self.folder = Path(tempfile.mkdtemp(prefix="hfpc-trainer-"))
        self._nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._failed: dict[str, int] = {}
        self._looks: dict[str, int] = {}
        self._ports: dict[str, int] = {}

    def forget(self) -> None:
        """Lets jobs run as processes, without an obstacle, and forgets what is left of earlier ones."""
        self.finish: Callable[[list[str]], str] | None = None
        self.obstacle: dict[str, Any] = {}
        self._pods: dict[str, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._left: dict[str, list[dict[str, Any]]] = {}

    def check(self, body: dict[str, Any]) -> str:
        name = body["spec"]["runtimeRef"]["name"]
        return "" if name in RUNTIMES else f'ClusterTrainingRuntime.trainer.kubeflow.org "{name}" not found'

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """The pods that cannot start."""
        return [pod for pod in self._pods.values() if pod["metadata"]["namespace"] == namespace]

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """What was told of jobs."""
        return [event for event in self._events if event["metadata"]["namespace"] == namespace]

    def remove(self, found: dict[str, Any]) -> None:
        metadata, conditions = found["metadata"], found["status"].get("conditions")
        if (
            "deletionTimestamp" in metadata
            and "foregroundDeletion" not in metadata.get("finalizers", [])
            and conditions
        ):
            self._left[metadata["name"]] = conditions
        self._pods.pop(metadata["uid"], None)
        for process in self._nodes.pop(found["metadata"]["uid"], []):
            process.terminate()
            process.wait()

    def advance(self, found: dict[str, Any]) -> None:
        if found["status"].get("conditions"):
            return
        uid, trainer = found["metadata"]["uid"], found["spec"]["trainer"]
        if left := self._left.pop(found["metadata"]["name"], None):
            found["status"]["conditions"] = left
            return
        if self._cannot_start(found):
            return
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
        found["status"]["jobsStatus"] = [_job(active=int(running > 0), ready=int(running > 0))]
        if any(codes):
            _end(found, "jobset failed due to one or more job failures")
        elif not running:
            _end(found, "")

    def _cannot_start(self, found: dict[str, Any]) -> bool:
        """Whether a job has no JobSet, of which events alone tell, or a pod that waits, of which its status tells."""
        name, place = found["metadata"]["name"], {"namespace": found["metadata"]["namespace"]}
        pod = f"{name}-node-0-{found['spec']['trainer']['numNodes'] - 1}-abcde"
        if len(pod) > LONGEST_POD_NAME:
            told = "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters"
            message = f"TrainJob resources reconciliation failed: admission webhook denied the request: {told}"
            event = {"involvedObject": {"kind": "TrainJob", "name": name}, "type": "Warning", "message": message}
            self._events.append({"metadata": place, **event, "reason": "TrainJobResourcesCreationFailed"})
        elif self.obstacle:
            labels = {"jobset.sigs.k8s.io/jobset-name": name}
            metadata = {"name": pod, "labels": labels, **place}
            self._pods[found["metadata"]["uid"]] = {"metadata": metadata, "status": self.obstacle}
            found["status"]["jobsStatus"] = [_job(active=1)]
        return len(pod) > LONGEST_POD_NAME or bool(self.obstacle)

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


def _job(**counts: int) -> dict[str, Any]:
    """What a JobSet says of the job of its nodes."""
    return {"name": "node", "active": 0, "ready": 0, "succeeded": 0, "failed": 0, "suspended": 0, **counts}


def _end(found: dict[str, Any], failure: str) -> None:
    kind, reason = ("Failed", "JobSetFailed") if failure else ("Complete", "JobsCompleted")
    message = failure or "jobset completed successfully"
    found["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason, "message": message}]
