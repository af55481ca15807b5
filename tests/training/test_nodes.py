"""Two nodes with disks of their own, killed and started again."""

import shutil
from dataclasses import replace

import pytest

from hfpc.training.finetune import FinetuneConfig
from tests.training.machine import evaluated
from tests.training.nodes import Nodes, kill

FULL = FinetuneConfig(epochs=2, learning_rate=3e-3, batch_size=8, extra={"save_steps": 4})
EARLY = FinetuneConfig(
    epochs=8,
    learning_rate=3e-3,
    batch_size=8,
    early_stopping_patience=3,
    extra={"save_steps": 5, "eval_strategy": "steps", "eval_steps": 16},
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("imported")]


def finish(nodes: Nodes, config: FinetuneConfig) -> bytes:
    """The weights that the nodes end with; only node 0 has outputs, and no checkpoint is left."""
    answers = nodes.answers(nodes.start(config))
    first, second = nodes.machines
    assert first.model.exists(), nodes.logs()
    assert answers[0] == answers[1]
    assert not second.model.parent.exists()
    assert not [*nodes.root.glob("node*/home/checkpoints/*"), *nodes.store.glob("*")]
    return first.weights


@pytest.fixture(scope="module")
def uninterrupted(imported, tokenized, tmp_path_factory) -> Nodes:
    """Nodes that trained with `FULL`."""
    nodes = Nodes(tmp_path_factory.mktemp("uninterrupted"), tmp_path_factory.mktemp("unused"), tokenized)
    finish(nodes, FULL)
    return nodes


def start_and_kill(nodes: Nodes, config: FinetuneConfig, step: int) -> int:
    """Kills both nodes once the checkpoint of a step is in the store; returns the step of the newest there."""
    started = nodes.start(config)
    nodes.wait_for_step(started, step, nodes.store)
    kill(*started)
    return max(nodes.complete_steps())


def test_nodes_that_lost_their_disks_end_with_the_weights_of_an_uninterrupted_run(uninterrupted, tokenized, tmp_path):
    nodes = Nodes(tmp_path / "nodes", tmp_path / "store", tokenized)
    copied = replace(FULL, checkpoint_uri=f"file://{nodes.store}")
    newest = start_and_kill(nodes, copied, 8)
    for machine in nodes.machines:
        shutil.rmtree(machine.home)

    later = start_and_kill(nodes, copied, newest + 8)
    assert nodes.machines[0].first_step() == newest + 1
    shutil.rmtree(nodes.machines[1].home)  # and node 0 keeps its own

    assert finish(nodes, copied) == uninterrupted.machines[0].weights
    assert nodes.machines[0].first_step() in range(newest + 9, later + 2)
    assert evaluated(nodes.machines[0]) == evaluated(uninterrupted.machines[0])


def test_nodes_that_lost_their_disks_end_with_the_best_weights(tokenized, tmp_path):
    reference = Nodes(tmp_path / "reference", tmp_path / "unused", tokenized)
    weights = finish(reference, EARLY)
    assert [step for step, _ in evaluated(reference.machines[0])] == [16, 32, 48, 64, 80]  # the best is that of 32

    nodes = Nodes(tmp_path / "nodes", tmp_path / "store", tokenized)
    copied = replace(EARLY, checkpoint_uri=f"file://{nodes.store}")
    newest = start_and_kill(nodes, copied, 40)
    for machine in nodes.machines:
        shutil.rmtree(machine.home)
    assert finish(nodes, copied) == weights
    assert nodes.machines[0].first_step() == newest + 1
    assert evaluated(nodes.machines[0]) == evaluated(reference.machines[0])


def test_without_a_store_a_node_that_lost_another_says_so_and_nodes_begin_anew(uninterrupted, tokenized, tmp_path):
    nodes = Nodes(tmp_path / "nodes", tmp_path / "store", tokenized)
    started = nodes.start(FULL)
    nodes.wait_for_step(started, 8, nodes.machines[0].home / "home" / "checkpoints")
    kill(started[1])
    started[0].join()
    message = (nodes.machines[0].home / "answer.txt").read_text()
    assert message.startswith("rank 0 lost another process ("), message
    assert not nodes.machines[0].model.parent.exists()
    warning = "2 nodes have disks of their own and checkpoint_uri is empty: started again, this training begins anew"
    assert warning in nodes.machines[0].log.read_text()

    assert finish(nodes, FULL) == uninterrupted.machines[0].weights
    assert nodes.machines[0].first_step() == 1
    assert "is not on every node's disk or at checkpoint_uri: training begins anew" in nodes.machines[0].log.read_text()
