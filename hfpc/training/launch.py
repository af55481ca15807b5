"""Starts a fine-tuning in one process for each device, on one node or on several that train together."""

import json
import os
import re
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc.errors import ArgumentError, HfpcError
from hfpc.manifest import ModelRecord
from hfpc.training.finetune import FinetuneConfig, finetune

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

DEVICE_VARIABLE = "HFPC_DEVICE"
"""`cuda` or `xla` where training on any other device is a mistake, such as an image without CUDA on a machine with a
GPU: one process runs there either way, so the number of processes does not tell."""

_POOLS = ("workerpool0", "workerpool1", "chief", "master", "worker")
"""Names of the nodes that train, in the order of their ranks, in `CLUSTER_SPEC` and in `TF_CONFIG`. Others are
parameter servers, reduction servers and evaluators."""

_LOST = re.compile(
    "Connection [a-z ]*(reset|closed)|Broken pipe|remote process exited|Timed out waiting", re.IGNORECASE
)
"""What Gloo, NCCL and the store of `torch.distributed` say when another process is gone."""


@dataclass(frozen=True)
class Cluster:
    """The nodes that train together, seen from one of them.

    Attributes:
        nodes: Number of nodes.
        rank: Rank of this node; rank 0 writes the outputs.
        host: Host name or address of node 0.
        port: Port of node 0 at which the nodes meet; 0 where one node is alone.
    """

    nodes: int = 1
    rank: int = 0
    host: str = "127.0.0.1"
    port: int = 0


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """The cluster that the platform describes: `CLUSTER_SPEC` (Vertex AI), else `TF_CONFIG`, else `PET_*` (Kubeflow).

    Args:
        environment: Environment variables.

    Returns:
        The cluster; one node where nothing is described.

    Raises:
        HfpcError: The description is damaged, or this node is not in it.
    """
    for variable in ("CLUSTER_SPEC", "TF_CONFIG"):
        if environment.get(variable):
            return _from_spec(variable, environment[variable])
    if environment.get("PET_NNODES"):
        return _from_torchrun(environment)
    return Cluster()


def launch(
    config: FinetuneConfig,
    tokenized: Path,
    out: Path,
    curves: Path,
    tensorboard: Path,
    *,
    processes: int = 0,
    wait: float = 900.0,
) -> ModelRecord:
    """Runs `finetune` with one process for each device of each node.

    Called on every node with the same arguments, it finds the other nodes by what the platform says
    (see `read_cluster`). One process alone runs `finetune` in this process; so does a process that a
    launcher, such as `accelerate launch`, has started. A node without accelerators runs one process;
    `PET_NPROC_PER_NODE` overrides the number. Only rank 0 writes outputs.

    Started again on all nodes, it goes on from the last checkpoint. Nodes need not share a disk if
    there is a `checkpoint_uri` that all of them reach; see `finetune`.

    Args:
        config: As for `finetune`.
        tokenized: As for `finetune`; every node reads it.
        out: As for `finetune`.
        curves: As for `finetune`.
        tensorboard: As for `finetune`.
        processes: Processes that must train together, on all nodes; 0 takes what there are.
        wait: Seconds that a node waits for the others at the start; machines of a cluster may start
            minutes apart.

    Returns:
        The model's record, on every node.

    Raises:
        HfpcError: The cluster's description is damaged, a node is missing, `processes` is not the
            number of processes that run, the device is not the one that `HFPC_DEVICE` names, or a
            process failed: then with the message of the first that failed on this node. A node
            that only lost another says so; the other tells why.
    """
    if isinstance(processes, bool) or processes != int(processes) or processes < 0:
        raise ArgumentError("processes", processes, "give a whole number, or 0 for as many as there are devices")
    arguments = (config, tokenized, out, curves, tensorboard)
    if "LOCAL_RANK" in os.environ:
        return _train(processes or int(os.environ.get("WORLD_SIZE", 1)), *arguments)
    cluster, devices = read_cluster(os.environ), _devices(os.environ)
    if cluster.nodes * devices == 1:
        return _train(processes, *arguments)
    return _start(cluster, devices, wait, (processes, *arguments))


def _from_spec(variable: str, text: str) -> Cluster:
    # The text is never quoted: Vertex AI puts the whole job into it, with the job's environment variables.
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HfpcError(f"{variable} is not JSON ({error}): correct it, or unset it to train on one node") from error
    cluster, task = (spec.get("cluster"), spec.get("task")) if isinstance(spec, dict) else (None, None)
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise HfpcError(f"{variable} lacks `cluster` or `task`: correct it, or unset it to train on one node")
    nodes: list[tuple[str, int]] = []
    addresses: list[str] = []
    for pool in _POOLS:
        members = cluster.get(pool) or []
        if not isinstance(members, list):
            raise HfpcError(f"{variable} holds no list of addresses for {pool}: correct it")
        nodes += [(pool, index) for index in range(len(members))]
        addresses += members
    place = (task.get("type"), task.get("index"))
    if isinstance(place[1], bool) or place not in nodes:
        known = ", ".join(f"{pool} {index}" for pool, index in nodes[:8]) or "none"
        given = f"task {place[0]} {place[1]}"[:80]
        raise ArgumentError(variable, given, f"no such node trains; those that do are {known} ({len(nodes)} in all)")
    host, port = _address(variable, addresses[0])
    return Cluster(len(nodes), nodes.index(place), host, port)


def _from_torchrun(environment: Mapping[str, str]) -> Cluster:
    fewest, _, most = environment["PET_NNODES"].partition(":")
    if most not in ("", fewest):
        raise ArgumentError("PET_NNODES", environment["PET_NNODES"], "the number of nodes must be fixed: give one")
    nodes = _number("PET_NNODES", fewest, least=1)
    if nodes == 1:
        return Cluster()
    rank = _number("PET_NODE_RANK", environment.get("PET_NODE_RANK", ""), least=0)
    if rank >= nodes:
        raise ArgumentError("PET_NODE_RANK", rank, f"there are {nodes} nodes (PET_NNODES), and ranks start at 0")
    address = f"{environment.get('PET_MASTER_ADDR', '')}:{environment.get('PET_MASTER_PORT', '')}"
    return Cluster(nodes, rank, *_address("PET_MASTER_ADDR:PET_MASTER_PORT", address))


def _number(variable: str, text: str, *, least: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) < least:
        raise ArgumentError(variable, text, f"give a whole number of at least {least}")
    return int(text)


def _address(variable: str, address: Any) -> tuple[str, int]:
    found = re.fullmatch("([A-Za-z0-9._-]+):([0-9]{1,5})", address) if isinstance(address, str) else None
    if not found or not 0 < int(found[2]) < 2**16:
        raise ArgumentError(variable, str(address)[:80], "node 0 needs an address of the form host:port")
    return found[1], int(found[2])


def _devices(environment: Mapping[str, str]) -> int:
    """Processes that this node runs."""
    import torch
    from torch.distributed.run import determine_local_world_size

    given = environment.get("PET_NPROC_PER_NODE") or "auto"
    if given == "auto":
        # Not a process for each core, as torchrun has it: one process computes with all of them.
        return torch.accelerator.device_count() or 1
    try:
        devices = int(determine_local_world_size(given))
    except ValueError as error:
        raise ArgumentError("PET_NPROC_PER_NODE", given, f"give a whole number or auto ({error})") from error
    if devices < 1:
        raise ArgumentError("PET_NPROC_PER_NODE", given, "give at least 1, or auto")
    return devices


def _start(cluster: Cluster, devices: int, wait: float, arguments: tuple[Any, ...]) -> ModelRecord:
    """Starts this node's processes through what `accelerate launch` and `torchrun` start theirs through.

    `accelerate launch` itself takes a script, and on CPUs starts several processes with MPI only.
    """
    from accelerate.utils import patch_environment
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}
    if cluster.nodes > 1:
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": f"{cluster.host}:{cluster.port}"}
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // devices)
    with tempfile.TemporaryDirectory(prefix="hfpc-launch-") as folder, patch_environment(OMP_NUM_THREADS=threads):
        failure = Path(folder) / "failure.txt"
        settings = LaunchConfig(
            min_nodes=cluster.nodes,
            max_nodes=cluster.nodes,
            nproc_per_node=devices,
            run_id="hfpc",
            rdzv_configs={"rank": cluster.rank, "timeout": int(wait)},
            max_restarts=0,  # the platform restarts all nodes, which go on from the checkpoint
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            **meeting,
        )
        try:
            records = elastic_launch(settings, _rank)(failure, *arguments)
        except ChildFailedError as error:
            raise HfpcError(_reason(error, failure)) from error
        except DistError as error:
            where = f"node {cluster.rank} did not meet all {cluster.nodes} nodes at {cluster.host}:{cluster.port}"
            raise HfpcError(f"{where} ({error}): see why one did not start, or cannot be reached") from error
    return next(iter(records.values()))


def _rank(failure: Path, processes: int, *arguments: Any) -> ModelRecord:
    """Runs in each process that is started. The first that fails leaves its message in `failure`."""
    try:
        return _train(processes or int(os.environ["WORLD_SIZE"]), *arguments)
    except Exception as error:
        # At once: as soon as this process ends, the others fail too, for having lost it.
        with suppress(FileExistsError), failure.open("x") as file:
            file.write(f"rank {os.environ['RANK']} {_failing(error)}")
        raise


def _failing(error: Exception) -> str:
    from torch.distributed import DistError

    if isinstance(error, HfpcError):
        return f"failed: {error}"
    # Gloo raises plain RuntimeErrors.
    if (isinstance(error, DistError) or "gloo" in str(error)) and (lost := _LOST.search(str(error))):
        return f"lost another process ({lost[0]}): the log of the one that ended first, or of its node, says why"
    return f"failed: {type(error).__name__}: {error}"


def _reason(error: "ChildFailedError", failure: Path) -> str:
    rank, found = error.get_first_failure()
    if found.exitcode == -signal.SIGKILL:
        return f"rank {rank} was killed (SIGKILL): where memory ran out, lower batch_size or take a larger machine"
    return failure.read_text() if failure.exists() else f"rank {rank} failed: {found.message}"


def _train(
    processes: int, config: FinetuneConfig, tokenized: Path, out: Path, curves: Path, tensorboard: Path
) -> ModelRecord:
    """Checks the world size and the device, then trains."""
    if processes or os.environ.get(DEVICE_VARIABLE):
        _check_processes(config, processes, os.environ.get(DEVICE_VARIABLE, ""))
    return finetune(config, tokenized, out, curves, tensorboard)


def _check_processes(config: FinetuneConfig, processes: int, device: str) -> None:
    """Compares with the processes that Accelerate joined, in just the way in which it will join them for training."""
    from hfpc.training.arguments import training_arguments

    arguments = training_arguments(config, Path(), main_metric="loss", validated=True)
    running, found = arguments.world_size, arguments.device.type
    if device and device != found:
        fix = (
            f"training would run on {found}: see that the machine has the device and that the image's torch can use it"
        )
        raise ArgumentError(DEVICE_VARIABLE, device, fix)
    if processes and running != processes:
        asked = f"{processes} {'process was' if processes == 1 else 'processes were'} asked for"
        fix = f"set processes to {running}, or change the number of nodes or of devices (accelerators) a node"
        raise ArgumentError(
            "processes", processes, f"{asked}, but {running} {'runs' if running == 1 else 'run'}: {fix}"
        )
