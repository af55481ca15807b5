"""Nodes that train together on this machine, and share nothing but a place that stands for a store."""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from hfpc.errors import HfpcError
from hfpc.training.finetune import FinetuneConfig
from hfpc.training.launch import launch
from tests.training.machine import PROCESSES, Machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Nodes:
    """Two nodes; each has a folder for its home, temporary files and outputs.

    Attributes:
        root: Where their folders are made.
        store: Place for the copies of checkpoints.
        tokenized: What both train on.
    """

    root: Path
    store: Path
    tokenized: Path

    @property
    def machines(self) -> list[Machine]:
        return [Machine(self.root / f"node{rank}", self.store, self.tokenized) for rank in (0, 1)]

    def start(self, config: FinetuneConfig, **options: int) -> list:
        pools = {"workerpool0": [f"127.0.0.1:{free_port()}"], "workerpool1": ["127.0.0.1:1"]}
        started = []
        for pool, machine in zip(pools, self.machines, strict=True):
            spec = json.dumps({"cluster": pools, "task": {"type": pool, "index": 0}})
            machine.log.unlink(missing_ok=True)
            started.append(PROCESSES.Process(target=_train, args=(machine, config, spec, options)))
            started[-1].start()
        return started

    def answers(self, started: list) -> list[str]:
        """What each node ended with: the fingerprint of the model, or the message of an error."""
        for process in started:
            process.join()
        assert all((machine.home / "answer.txt").exists() for machine in self.machines), self.logs()
        return [(machine.home / "answer.txt").read_text() for machine in self.machines]

    def logs(self) -> str:
        return "\n".join(machine.log.read_text() for machine in self.machines if machine.log.exists())

    def complete_steps(self) -> list[int]:
        return self.machines[0].complete_steps()

    def wait_for_step(self, started: list, step: int, place: Path) -> None:
        """Until the checkpoint of a step, or a later one, is complete in a folder of checkpoints."""
        while not any(int(marker.stem[11:]) >= step for marker in place.glob("*/checkpoint-*.json")):
            assert all(process.is_alive() for process in started), self.logs()
            time.sleep(0.002)


def kill(*nodes) -> None:
    """Kills nodes at once: the launchers, and what they started."""
    launchers = []
    for node in nodes:
        with suppress(psutil.NoSuchProcess):  # it may have ended by itself
            launchers.append(psutil.Process(node.pid))
            launchers[-1].suspend()  # so that it starts nothing more, and does not notice that the others are gone
    running = [child for launcher in launchers for child in _children(launcher)] + launchers
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running)
    for node in nodes:
        node.join()


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _train(machine: Machine, config: FinetuneConfig, spec: str, options: dict[str, int]) -> None:
    temporary, out = machine.home / "tmp", machine.home / "out"
    temporary.mkdir(parents=True, exist_ok=True)
    home = str(machine.home / "home")
    os.environ.update(CLUSTER_SPEC=spec, HFPC_HOME=home, TMPDIR=str(temporary), OMP_NUM_THREADS="1")
    os.dup2(os.open(machine.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    answer = machine.home / "answer.txt"
    try:
        record = launch(
            config, machine.tokenized, machine.model, out / "curves.html", out / "tensorboard", processes=2, **options
        )
    except HfpcError as error:
        answer.write_text(str(error))
        raise SystemExit(1) from error
    answer.write_text(record.fingerprint)
