"""Trainings in processes of their own, which can be killed."""

import json
import multiprocessing
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hfpc import progress
from hfpc.training.finetune import FinetuneConfig, finetune

# A process of its own imports what takes long, once; each training is a fork of it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    "torch datasets peft pytest torch.utils.tensorboard transformers.models.bert.modeling_bert "
    "hfpc.training.trainer hfpc.training.finetune hfpc.training.export".split()
)


@dataclass(frozen=True)
class Machine:
    """A folder that stands for a machine's disk, and the place where checkpoints are copied."""

    home: Path
    copies: Path
    tokenized: Path

    @property
    def model(self) -> Path:
        return self.home / "out" / "model"

    @property
    def log(self) -> Path:
        return self.home / f"log-{os.environ.get('RANK', 0)}.txt"

    @property
    def weights(self) -> bytes:
        return (self.model / "model.safetensors").read_bytes()

    def start(self, config: FinetuneConfig, **environment: str):
        self.log.unlink(missing_ok=True)  # a process killed at once must not leave its predecessor's
        process = PROCESSES.Process(target=train, args=(self, config, environment))
        process.start()
        return process

    def complete_steps(self) -> list[int]:
        """Steps of the checkpoints that have all their files, here or copied."""
        places = [*self.home.glob("home/checkpoints/*/"), *self.copies.glob("*/")]
        return [step for place in places for step in _complete(place)]

    def first_step(self) -> int | None:
        lines = map(progress.parse, self.log.read_text().splitlines() if self.log.exists() else [])
        return next((line.done for line in lines if line), None)


def _complete(place: Path) -> list[int]:
    bests = {}
    for marker in place.glob("checkpoint-*.json"):
        folder = marker.with_suffix("")
        with suppress(FileNotFoundError, ValueError):  # the training removes old checkpoints meanwhile
            content = json.loads(marker.read_text())
            if all((folder / name).stat().st_size == size for name, size in content["files"].items()):
                bests[int(folder.name.rpartition("-")[2])] = content["best"]
    return [step for step, best in bests.items() if best in (None, step) or best in bests]


def train(machine: Machine, config: FinetuneConfig, environment: dict[str, str]) -> None:
    """Runs in the process that is killed."""
    os.environ.update(environment, HFPC_HOME=str(machine.home / "home"))
    machine.home.mkdir(parents=True, exist_ok=True)
    os.dup2(os.open(machine.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    out = machine.home / "out"
    finetune(config, machine.tokenized, machine.model, out / "curves.html", out / "tensorboard")


def history(machine: Machine) -> list[dict]:
    return json.loads((machine.model / "history.json").read_text())


def evaluated(machine: Machine) -> list[tuple[int, float]]:
    return [(entry["step"], entry["eval_loss"]) for entry in history(machine) if "eval_loss" in entry]


def logged(machine: Machine) -> list[int]:
    return [entry["step"] for entry in history(machine) if "loss" in entry]


def events(machine: Machine) -> list[int]:
    """Steps whose loss TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(machine.model.parent / "tensorboard"), {"scalars": 0}).Reload()
    return [event.step for event in events.Scalars("train/loss")]
