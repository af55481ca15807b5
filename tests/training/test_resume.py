"""Killed at any moment and started again, a fine-tuning ends with the weights of an uninterrupted one."""

import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hfpc.training.finetune import FinetuneConfig
from tests.training.machine import Machine, evaluated, events, logged

FULL = FinetuneConfig(epochs=4, learning_rate=3e-3, batch_size=16, extra={"save_steps": 3})
LORA = FinetuneConfig(epochs=3.3, learning_rate=1e-2, batch_size=16, lora_rank=4, extra={"save_steps": 5})
EARLY = FinetuneConfig(
    epochs=20,
    learning_rate=3e-3,
    batch_size=16,
    early_stopping_patience=4,
    label_weights="balanced",
    extra={"save_steps": 7, "eval_strategy": "steps", "eval_steps": 4, "gradient_accumulation_steps": 2},
)


def half_written(checkpoints: Path) -> bool:
    """Whether there is a checkpoint without its marker."""
    return any(not folder.with_suffix(".json").exists() for folder in checkpoints.glob("*/checkpoint-*/"))


MOMENTS = {
    "while a checkpoint is written": lambda machine: half_written(machine.home / "home" / "checkpoints"),
    "while a checkpoint is copied": lambda machine: half_written(machine.copies),
    "while the model is published": lambda machine: any(machine.model.parent.glob(".model-*")),
}


def killed(process, machine: Machine, moment: str, delay: float) -> bool:
    """Kills the process at the moment, or after the delay; False if it ended before."""
    ends = time.monotonic() + delay
    reached = MOMENTS.get(moment, lambda _: time.monotonic() >= ends)
    while process.is_alive():
        if reached(machine):
            process.kill()
            process.join()
            return process.exitcode == -9
        time.sleep(0.0005)
    assert process.exitcode == 0, machine.log.read_text()
    return False


def kill_often(machine: Machine, config: FinetuneConfig, weights: bytes, seconds: float, *, keeps_disk: bool) -> int:
    """Starts again and again, killed each time, and then to the end; returns how many kills there were."""
    chance = random.Random(machine.home.name)
    moments = [*MOMENTS, "at any time", "at any time", "at any time"]
    chance.shuffle(moments)
    kills = resumed = 0
    while moments:
        complete = machine.complete_steps()
        process = machine.start(config)
        if killed(process, machine, moments[0], chance.uniform(0.2, 0.9) * seconds):
            kills += 1
            moments.pop(0)
        else:
            assert machine.weights == weights
            shutil.rmtree(machine.model)
        if complete and machine.first_step():
            assert machine.first_step() == max(complete) + 1
            resumed += 1
        if not keeps_disk:
            shutil.rmtree(machine.home)
            machine.home.mkdir()
    process = machine.start(config)
    process.join()
    assert process.exitcode == 0, machine.log.read_text()
    assert machine.weights == weights
    assert resumed
    return kills


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("config", "data", "keeps_disk"),
    [
        pytest.param(FULL, "tokenized", True, id="all weights"),
        pytest.param(LORA, "tokenized", True, id="LoRA"),
        pytest.param(EARLY, "tagged_tokenized", True, id="early stopping"),
        pytest.param(EARLY, "tokenized", False, id="another machine each time"),
    ],
)
def test_a_killed_training_ends_with_the_same_weights(config, data, keeps_disk, tmp_path, request):
    tokenized = request.getfixturevalue(data)
    reference = Machine(tmp_path / "reference", tmp_path / "none", tokenized)
    started = time.monotonic()
    process = reference.start(config)
    process.join()
    seconds = time.monotonic() - started
    assert process.exitcode == 0, reference.log.read_text()
    weights = reference.weights

    machine = Machine(tmp_path / "machine", tmp_path / "copies", tokenized)
    copied = replace(config, checkpoint_uri=f"file://{machine.copies}")
    assert kill_often(machine, copied, weights, seconds, keeps_disk=keeps_disk) >= 5

    assert (machine.model / "hfpc.json").exists()
    assert evaluated(machine) == evaluated(reference)
    assert events(machine) == logged(machine)
    assert not list((machine.home / "home" / "checkpoints").iterdir())
    assert not list(machine.copies.iterdir())
