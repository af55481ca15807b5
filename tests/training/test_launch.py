"""The launcher: whatever it reads about a cluster, and real processes that it starts on this machine, over gloo."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from hfpc.errors import ArgumentError, HfpcError
from hfpc.training.finetune import FinetuneConfig
from hfpc.training.launch import Cluster, _rank, launch, read_cluster
from tests.training.machine import PROCESSES, Machine

CONFIG = FinetuneConfig(epochs=4, learning_rate=3e-3, batch_size=8)
POOLS = {"workerpool0": ["first-node:2222"], "workerpool1": ["second:2222", "third:2222"]}


def spec(kind: object, index: object, cluster: object = POOLS) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [
        ({}, Cluster()),
        ({"CLUSTER_SPEC": "", "TF_CONFIG": "", "PET_NNODES": ""}, Cluster()),
        ({"CLUSTER_SPEC": spec("workerpool0", 0)}, Cluster(3, 0, "first-node", 2222)),
        ({"CLUSTER_SPEC": spec("workerpool1", 1)}, Cluster(3, 2, "first-node", 2222)),
        ({"CLUSTER_SPEC": spec("workerpool0", 0, {"workerpool0": ["a:1"]})}, Cluster(1, 0, "a", 1)),
        # The third pool holds reduction servers, the fourth evaluators: they do not train.
        (
            {"CLUSTER_SPEC": spec("workerpool1", 0, {**POOLS, "workerpool2": ["r:2222"], "workerpool3": ["e:2222"]})},
            Cluster(3, 1, "first-node", 2222),
        ),
        (
            {"TF_CONFIG": spec("worker", 1, {"worker": ["b:1", "c:1"], "ps": ["p:1"], "chief": ["a:9"]})},
            Cluster(3, 2, "a", 9),
        ),
        ({"TF_CONFIG": spec("worker", 1, {"worker": ["10.0.0.1:1", "c:1"]})}, Cluster(2, 1, "10.0.0.1", 1)),
        ({"CLUSTER_SPEC": spec("workerpool1", 0), "TF_CONFIG": "{"}, Cluster(3, 1, "first-node", 2222)),
        (
            {
                "PET_NNODES": "2",
                "PET_NODE_RANK": "1",
                "PET_MASTER_ADDR": "job-node-0-0.job",
                "PET_MASTER_PORT": "29400",
            },
            Cluster(2, 1, "job-node-0-0.job", 29400),
        ),
        (
            {"PET_NNODES": "2:2", "PET_NODE_RANK": "0", "PET_MASTER_ADDR": "a", "PET_MASTER_PORT": "1"},
            Cluster(2, 0, "a", 1),
        ),
        ({"PET_NNODES": "1"}, Cluster()),
    ],
)
def test_the_cluster_is_read_from_what_the_platform_says(environment, cluster):
    assert read_cluster(environment) == cluster


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "lacks `cluster` or `task`"),
        ("{}", "lacks `cluster` or `task`"),
        ('{"cluster": {"workerpool0": ["a:1"]}}', "lacks `cluster` or `task`"),
        (spec("workerpool0", 0, ["a:1"]), "lacks `cluster` or `task`"),
        (spec("workerpool0", 0, {"workerpool0": "a:1"}), "no list of addresses for workerpool0"),
        (spec("workerpool0", 0, {}), "task workerpool0 0.*those that do are none"),
        (spec("workerpool1", 2), r"task workerpool1 2.*workerpool0 0, workerpool1 0, workerpool1 1 \(3 in all\)"),
        (spec("workerpool1", -1), "no such node trains"),
        (spec("workerpool1", True), "no such node trains"),
        (spec("workerpool1", "0"), "no such node trains"),
        (spec("workerpool1", None), "no such node trains"),
        (spec(["workerpool1"], {"a": 1}), "no such node trains"),
        (spec("workerpool2", 0, {**POOLS, "workerpool2": ["r:2222"]}), "no such node trains"),
        *[
            (spec("workerpool0", 0, {"workerpool0": [address]}), "of the form host:port")
            for address in [
                "a",
                "a:",
                ":1",
                "a:0",
                "a:65536",
                "a b:1",
                "a:1\n",
                "a;id:1",
                "$(id):1",
                "",
                None,
                7,
                ["a:1"],
            ]
        ],
    ],
)
@pytest.mark.parametrize("variable", ["CLUSTER_SPEC", "TF_CONFIG"])
def test_a_damaged_description_is_an_error_that_names_the_variable(variable, text, message):
    with pytest.raises(HfpcError, match=message) as raised:
        read_cluster({variable: text})
    assert variable in str(raised.value)
    assert len(str(raised.value)) < 400


def test_an_error_does_not_quote_the_job_that_vertex_puts_beside_the_cluster():
    job = {"cluster": POOLS, "task": {"type": "workerpool1", "index": 9}, "job": "env: PASSPHRASE canary"}
    for text in (json.dumps(job), json.dumps(job)[:-1], json.dumps({**job, "cluster": []})):
        with pytest.raises(HfpcError) as raised:
            read_cluster({"CLUSTER_SPEC": text})
        assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"PET_NNODES": "1:4"}, "PET_NNODES='1:4'"),
        ({"PET_NNODES": "two"}, "PET_NNODES='two'"),
        ({"PET_NNODES": "0"}, "PET_NNODES='0'"),
        ({"PET_NNODES": "-2"}, "PET_NNODES='-2'"),
        ({"PET_NODE_RANK": "2"}, "PET_NODE_RANK=2: there are 2 nodes"),
        ({"PET_NODE_RANK": ""}, "PET_NODE_RANK=''"),
        ({"PET_MASTER_ADDR": ""}, "PET_MASTER_ADDR:PET_MASTER_PORT=':29400'"),
        ({"PET_MASTER_PORT": "x"}, "PET_MASTER_ADDR:PET_MASTER_PORT='a:x'"),
    ],
)
def test_wrong_variables_of_kubeflow_are_an_error(changed, named):
    right = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "a", "PET_MASTER_PORT": "29400"}
    with pytest.raises(ArgumentError) as raised:
        read_cluster(right | changed)
    assert named in str(raised.value)


@pytest.mark.parametrize("processes", [-1, 1.5, True])
def test_a_number_of_processes_that_is_none_is_an_error(processes, tmp_path):
    with pytest.raises(ArgumentError, match="processes="):
        launch(CONFIG, tmp_path, tmp_path, tmp_path, tmp_path, processes=processes)


@pytest.mark.parametrize("given", ["0", "-1", "many", "gpus"])
def test_a_wrong_number_of_processes_a_node_is_an_error(given, tmp_path, monkeypatch):
    monkeypatch.setenv("PET_NPROC_PER_NODE", given)
    with pytest.raises(ArgumentError, match="PET_NPROC_PER_NODE="):
        launch(CONFIG, tmp_path, tmp_path, tmp_path, tmp_path)


def test_one_process_trains_in_this_one(home, tokenized, tmp_path):
    record = launch(CONFIG, tokenized, tmp_path / "model", tmp_path / "curves.html", tmp_path / "events", processes=1)
    assert json.loads((tmp_path / "model" / "hfpc.json").read_text())["model"]["fingerprint"] == record.fingerprint


def test_one_process_where_two_were_asked_for_is_an_error_before_any_data_is_read(home, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ArgumentError, match="2 processes were asked for, but 1 runs: set processes to 1"):
        launch(CONFIG, tmp_path / "missing", out, out, out, processes=2)
    assert not out.exists()
    assert not home.exists()


def test_another_device_than_asked_for_is_an_error_before_any_data_is_read(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HFPC_DEVICE", "cuda")
    out = tmp_path / "model"
    with pytest.raises(ArgumentError, match="HFPC_DEVICE='cuda': training would run on cpu"):
        launch(CONFIG, tmp_path / "missing", out, out, out)
    monkeypatch.setenv("HFPC_DEVICE", "cpu")
    with pytest.raises(ArgumentError, match="2 processes were asked for, but 1 runs"):
        launch(CONFIG, tmp_path / "missing", out, out, out, processes=2)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(node: Machine, config: FinetuneConfig, out: Path, environment: dict[str, str], **options: float):
    process = PROCESSES.Process(target=run, args=(node, config, out, environment, options))
    process.start()
    return process


def run(node: Machine, config: FinetuneConfig, out: Path, environment: dict[str, str], options: dict) -> None:
    """Runs in a process of its own, which stands for a node."""
    os.environ.update(environment, HFPC_HOME=str(node.home / "home"), OMP_NUM_THREADS="1")
    node.home.mkdir(parents=True, exist_ok=True)
    os.dup2(os.open(node.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    answer = node.home / "answer.txt"
    try:
        record = launch(config, node.tokenized, out / "model", out / "curves.html", out / "tensorboard", **options)
    except HfpcError as error:
        answer.write_text(str(error))
        raise SystemExit(1) from error
    answer.write_text(record.fingerprint)


def answered(process, node: Machine, exitcode: int) -> str:
    process.join()
    assert process.exitcode == exitcode, node.log.read_text()
    return (node.home / "answer.txt").read_text()


def two_nodes(tmp_path: Path, tokenized: Path) -> list[tuple[Machine, dict[str, str]]]:
    cluster = {"workerpool0": [f"127.0.0.1:{free_port()}"], "workerpool1": ["127.0.0.1:1"]}
    return [
        (Machine(tmp_path / pool, tmp_path / "none", tokenized), {"CLUSTER_SPEC": spec(pool, 0, cluster)})
        for pool in cluster
    ]


def check_model(out: Path, fingerprint: str) -> None:
    """That there is one model, of 18 steps an epoch: each process had half of the rows; and that it answers."""
    from transformers import pipeline

    assert sorted(path.name for path in out.iterdir()) == ["curves.html", "model", "tensorboard"]
    assert json.loads((out / "model" / "history.json").read_text())[-1]["step"] == 72
    record = json.loads((out / "model" / "hfpc.json").read_text())["model"]
    assert record["fingerprint"] == fingerprint
    assert record["metrics"]["validation/accuracy"] > 0.9
    assert pipeline("text-classification", str(out / "model"))("i love this")[0]["label"] == "positive"


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_two_processes_of_one_node_train_one_model(tokenized, tmp_path):
    node = Machine(tmp_path / "node", tmp_path / "none", tokenized)
    out = node.home / "out"
    process = start(node, CONFIG, out, {"PET_NPROC_PER_NODE": "2"}, processes=2)
    check_model(out, answered(process, node, 0))


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_two_nodes_train_one_model(tokenized, tmp_path):
    out = tmp_path / "out"
    nodes = two_nodes(tmp_path, tokenized)
    started = [start(node, CONFIG, out, environment, processes=2) for node, environment in nodes]
    answers = [answered(process, node, 0) for process, (node, _) in zip(started, nodes, strict=True)]
    assert answers[0] == answers[1]
    check_model(out, answers[0])


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_every_node_refuses_a_wrong_world_size(tokenized, tmp_path):
    out = tmp_path / "out"
    nodes = two_nodes(tmp_path, tokenized)
    started = [start(node, CONFIG, out, environment, processes=16) for node, environment in nodes]
    for process, (node, _) in zip(started, nodes, strict=True):
        assert "16 processes were asked for, but 2 run: set processes to 2" in answered(process, node, 1)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_does_not_wait_for_ever_for_one_that_is_missing(rank, tokenized, tmp_path):
    node, environment = two_nodes(tmp_path, tokenized)[rank]
    message = answered(start(node, CONFIG, tmp_path / "out", environment, wait=2), node, 1)
    assert f"node {rank} did not meet all 2 nodes at 127.0.0.1:" in message


def training(node: Machine, out: Path):
    """A launcher whose two ranks are training, and their process ids."""
    long = FinetuneConfig(epochs=10_000, batch_size=8)
    process = start(node, long, out, {"PET_NPROC_PER_NODE": "2"})
    while node.first_step() is None:
        assert process.is_alive(), node.log.read_text()
        time.sleep(0.05)
    started = psutil.Process(process.pid).children()
    ranks = sorted(child.pid for child in started if "spawn_main" in " ".join(child.cmdline()))
    assert len(ranks) == 2
    return process, ranks


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_a_rank_that_is_killed_ends_the_others_and_is_named(tokenized, tmp_path):
    node = Machine(tmp_path / "node", tmp_path / "none", tokenized)
    process, ranks = training(node, tmp_path / "out")
    os.kill(ranks[1], signal.SIGKILL)
    assert "rank 1 was killed (SIGKILL)" in answered(process, node, 1)
    assert not any(psutil.pid_exists(pid) for pid in ranks)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_a_launcher_that_the_platform_stops_ends_its_ranks(tokenized, tmp_path):
    node = Machine(tmp_path / "node", tmp_path / "none", tokenized)
    process, ranks = training(node, tmp_path / "out")
    process.terminate()
    process.join()
    assert process.exitcode
    assert not any(psutil.pid_exists(pid) for pid in ranks)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_ranks_that_another_launcher_started_train_one_model(tokenized, tmp_path):
    out = tmp_path / "out"
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    nodes = [Machine(tmp_path / rank, tmp_path / "none", tokenized) for rank in "01"]
    started = [
        start(node, CONFIG, out, {**shared, "RANK": rank, "LOCAL_RANK": rank, "PET_NPROC_PER_NODE": "2"}, processes=2)
        for rank, node in zip("01", nodes, strict=True)
    ]
    answers = [answered(process, node, 0) for process, node in zip(started, nodes, strict=True)]
    assert answers[0] == answers[1]
    check_model(out, answers[0])


def test_of_several_messages_the_first_is_kept(home, tmp_path, monkeypatch):
    """When one rank fails, the others fail soon after, for having lost it; with whatever number."""
    failure, out = tmp_path / "failure.txt", tmp_path / "out"
    for rank, processes in ((1, 5), (0, 6)):
        monkeypatch.setenv("RANK", str(rank))
        with pytest.raises(ArgumentError, match=f"{processes} processes were asked for"):
            _rank(failure, processes, CONFIG, tmp_path / "missing", out, out, out)
    assert failure.read_text().startswith("rank 1 failed: processes=5: 5 processes were asked for, but 1 runs")


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
def test_the_error_is_that_of_the_rank_that_failed_and_not_of_the_other_which_lost_it(tokenized, tmp_path):
    node = Machine(tmp_path / "node", tmp_path / "none", tokenized)
    (tmp_path / "out").write_text("in the way of the model's folder")
    message = answered(start(node, CONFIG, tmp_path / "out", {"PET_NPROC_PER_NODE": "2"}), node, 1)
    assert message.startswith(("rank 0 failed: NotADirectoryError", "rank 0 failed: FileExistsError")), message
