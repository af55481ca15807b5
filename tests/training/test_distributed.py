"""Two processes that train together, as a launcher starts them, over gloo."""

import json
import socket
import time

import pytest

from hfpc.training.finetune import FinetuneConfig
from tests.training.machine import Machine, evaluated

CONFIG = FinetuneConfig(epochs=4, learning_rate=3e-3, batch_size=8, extra={"save_steps": 5})


def start(machine: Machine) -> list:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [machine.start(CONFIG, RANK=rank, LOCAL_RANK=rank, **shared) for rank in "01"]


def finish(machine: Machine, processes: list) -> None:
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], machine.log.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_two_processes_train_one_model_and_resume_together(tokenized, tmp_path):
    reference = Machine(tmp_path / "reference", tmp_path / "none", tokenized)
    finish(reference, start(reference))
    assert evaluated(reference)[-1][0] == 72  # of 18 steps an epoch: each process had half of the rows
    record = json.loads((reference.model / "hfpc.json").read_text())["model"]
    assert record["metrics"]["validation/accuracy"] > 0.9

    machine = Machine(tmp_path / "machine", tmp_path / "none", tokenized)
    processes = start(machine)
    while max(machine.complete_steps(), default=0) < 25:
        assert all(process.is_alive() for process in processes), machine.log.read_text()
        time.sleep(0.001)
    for process in processes:
        process.kill()
        process.join()
    newest = max(machine.complete_steps())
    finish(machine, start(machine))
    assert machine.first_step() == newest + 1
    assert machine.weights == reference.weights
