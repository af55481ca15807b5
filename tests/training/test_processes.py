"""Two processes over gloo: one of each of two nodes, or both of one; where both train on the same and the rest."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from hfpc.errors import HfpcError
from hfpc.training.checkpoints import Checkpoints
from hfpc.training.processes import broadcast, gather, together
from hfpc.training.resume import resume
from tests.training.machine import PROCESSES
from tests.training.nodes import free_port


@dataclass(frozen=True)
class Node:
    """What a process has of its own: local rank, disk, checkpoint URI."""

    local_rank: int
    disk: Path
    uri: str = ""


def save(checkpoints: Checkpoints, step: int, best: int | None = None) -> None:
    checkpoints.path(step).mkdir()
    (checkpoints.path(step) / "weights").write_text(f"weights {step}")
    checkpoints.complete(step, best)


def save_on(disk: Path, steps: list[int], uri: str = "") -> None:
    """Checkpoints of a run that ended before."""
    checkpoints = Checkpoints(disk, uri)
    checkpoints.claim()
    for step in steps:
        save(checkpoints, step)


def run_two(work, *arguments) -> list:
    """What `work` gives, or the error it raises as a text, in each of two processes that are joined."""
    answers = PROCESSES.SimpleQueue()
    port = free_port()
    processes = [PROCESSES.Process(target=_join, args=(rank, port, answers, work, arguments)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [answer for _, answer in sorted(answers.get() for _ in processes)]


def _join(rank: int, port: int, answers, work, arguments) -> None:
    from torch import distributed

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        answer = work(rank, *arguments)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    answers.put((rank, answer))
    distributed.barrier()
    distributed.destroy_process_group()


def tell(rank: int) -> list:
    return [broadcast(f"of {rank}"), gather(rank + 5), together(lambda: rank * 2)]


def fail(rank: int, kind: type[Exception]) -> None:
    def work() -> None:
        if rank == 1:
            raise kind("no access")

    together(work)


def start(rank: int, nodes: list[Node]) -> tuple:
    node = nodes[rank]
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("hfpc.training").addHandler(handler)
    arguments = SimpleNamespace(process_index=rank, local_process_index=node.local_rank)
    found = resume(Checkpoints(node.disk, node.uri), arguments)
    weights = (found.checkpoint / "weights").read_text() if found.checkpoint else None
    return weights, found.keeps_disk, lines


def steps(disk: Path) -> list[str]:
    return sorted(path.name for path in disk.glob("checkpoint-*/"))


def test_one_process_alone_does_it_alone():
    assert broadcast("value") == "value"
    assert gather("value") == ["value"]
    assert together(lambda: "value") == ["value"]


def test_processes_tell_each_other():
    assert run_two(tell) == [["of 0", [5, 6], [0, 2]]] * 2


def test_what_fails_in_one_process_fails_in_all():
    assert run_two(fail, HfpcError) == ["HfpcError: rank 1 failed: no access", "HfpcError: no access"]
    assert run_two(fail, OSError)[0] == "HfpcError: rank 1 failed: OSError: no access"


def test_a_node_with_an_empty_disk_fetches_from_the_uri(tmp_path):
    uri = str(tmp_path / "store")
    save_on(tmp_path / "first", [3, 6], uri)
    nodes = [Node(0, tmp_path / "first", uri), Node(0, tmp_path / "second", uri)]
    assert run_two(start, nodes) == [("weights 6", True, [])] * 2
    assert steps(tmp_path / "second") == ["checkpoint-6"]


def test_two_processes_of_a_node_and_two_nodes_with_one_disk_have_one_that_looks_after_it(tmp_path):
    save_on(tmp_path / "disk", [3, 6])
    for local_rank in (1, 0):
        nodes = [Node(0, tmp_path / "disk"), Node(local_rank, tmp_path / "disk")]
        assert run_two(start, nodes) == [("weights 6", True, []), ("weights 6", False, [])]


def test_what_was_not_copied_yet_is_left_behind_where_not_every_node_has_it(tmp_path):
    uri = str(tmp_path / "store")
    save_on(tmp_path / "first", [3, 6], uri)
    uncopied = Checkpoints(tmp_path / "first", "")
    save(uncopied, 9)
    nodes = [Node(0, tmp_path / "first", uri), Node(0, tmp_path / "second", uri)]
    (first, keeps, lines), second = run_two(start, nodes)
    assert (first, keeps) == ("weights 6", True)
    assert lines == [
        "the checkpoint of step 9 is not on every node's disk or at checkpoint_uri: training goes on from step 6"
    ]
    assert second == ("weights 6", True, [])
    assert steps(tmp_path / "first") == ["checkpoint-6"]  # a newer one would be written over, half by half


def test_nodes_with_disks_of_their_own_and_no_uri_begin_anew_and_say_so(tmp_path):
    save_on(tmp_path / "first", [3])
    (weights, _, lines), second = run_two(start, [Node(0, tmp_path / "first"), Node(0, tmp_path / "second")])
    assert weights is None
    assert "2 nodes have disks of their own and checkpoint_uri is empty" in lines[0]
    assert "the checkpoint of step 3 is not on every node's disk" in lines[1]
    assert "training begins anew" in lines[1]
    assert second == (None, True, [])
    assert steps(tmp_path / "first") == []


def test_a_place_that_one_node_cannot_use_is_an_error_on_every_node(tmp_path):
    (tmp_path / "file").write_text("")
    broken, fine = str(tmp_path / "file" / "store"), str(tmp_path / "store")
    nodes = [Node(0, tmp_path / "first", broken), Node(0, tmp_path / "second", fine)]
    first, second = run_two(start, nodes)
    assert first.startswith("ArgumentError: checkpoint_uri=")
    assert "nothing can be written there" in first
    assert second == first.replace("ArgumentError: ", "HfpcError: rank 0 failed: ")
