"""A TrainJob of Kubeflow Trainer that fine-tunes: its settings, and the object that the cluster gets."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hfpc import images
from hfpc.errors import ArgumentError
from hfpc.redaction import MASK, redacted
from hfpc.sinks.kubernetes_calls import MANAGED, check_labels, check_name, check_resources
from hfpc.sinks.rare_settings import rare_settings

JOB = "hfpc/job"
"""Label: what the job trains, so that a step finds what it made before."""

RARE: dict[str, type] = {
    "runtime": str,
    "image": str,
    "service_account": str,
    "node_selector": dict,
    "tolerations": list,
    "environment": dict,
    "secrets": dict,
    "shared_memory": str,
    "start_seconds": float,
    "total_seconds": float,
}
"""Settings that the component takes in `extra`, and what each is."""

_SPOT = (
    "cloud.google.com/gke-spot",
    "eks.amazonaws.com/capacityType",
    "karpenter.sh/capacity-type",
    "kubernetes.azure.com/scalesetpriority",
)
_TOLERATION = {"key", "operator", "value", "effect"}
_SECRET = re.compile("[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[-._a-zA-Z0-9]{1,253}")
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_LONGEST_NAME = 38  # of a job with its key, so that JobSet's names of pods, JOB-node-0-NUMBER-abcde, have 63 characters
_WITHOUT_SIDECAR = {"sidecar.istio.io/inject": "false"}


@dataclass(frozen=True, kw_only=True)
class FinetuneTrainjobConfig:
    """Where a fine-tuning runs.

    Attributes:
        name: Beginning of the job's name: lower case letters, digits and hyphens, at most 37; one less with more than
            10 nodes, and with more than 100.
        output_uri: Folder in a store (`gs://…`, `s3://…`) below which node 0 writes the outputs.
        namespace: Namespace; "" for the one that this code runs in, or that the kubeconfig names.
        nodes: Number of nodes.
        processes_per_node: Processes on each node, one an accelerator.
        resources: What each node asks for and is limited to, e.g. `{"nvidia.com/gpu": "4"}`.
        runtime: ClusterTrainingRuntime with PyTorch's launcher; Kubeflow Trainer brings "torch-distributed".
        image: Training image; "" takes this package's own, for GPUs where `resources` has some.
        service_account: Service account of the pods; "" for the namespace's own.
        node_selector: Labels of the nodes that may train.
        tolerations: Taints that the pods put up with: key, operator, value and effect as Kubernetes has them; those of
            spot machines are added where `node_selector` asks for such.
        environment: Environment variables of the container; no secrets.
        secrets: Environment variable to `SECRET/KEY`, the name of a Kubernetes secret and of its key. A secret that is
            not there leaves the variable out.
        shared_memory: Size of `/dev/shm`, a part of the container's memory; "" leaves it to the runtime. Where that
            says nothing it is 64 MB, too little for NCCL and for loaders with workers.
        restarts: How often a job is made again that failed for another reason than a mistake in its settings or data,
            such as the loss of a spot machine. Needs a `checkpoint_uri`, from which it goes on. Before a job fails,
            the cluster starts lost pods again in the same job, as often as the runtime's `backoffLimit` says.
        start_seconds: How long a job may take until all its nodes run, the download of the image included; the time
            in which a queue holds it back does not count. The default, half an hour, lets a cloud add machines.
        total_seconds: How long the training may take, restarts included.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    output_uri: str
    namespace: str = ""
    nodes: int = 1
    processes_per_node: int = 1
    resources: Mapping[str, str] = field(default_factory=lambda: {"cpu": "4", "memory": "16Gi"})
    runtime: str = "torch-distributed"
    image: str = ""
    service_account: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = (
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    )
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(
        default_factory=lambda: {
            "HF_TOKEN": "huggingface/HF_TOKEN",
            "AWS_ACCESS_KEY_ID": "aws/AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY": "aws/AWS_SECRET_ACCESS_KEY",
        }
    )
    shared_memory: str = "8Gi"
    restarts: int = 0
    start_seconds: float = 1800.0
    total_seconds: float = 7 * 24 * 3600.0

    def __post_init__(self) -> None:
        for argument in ("namespace", "service_account", "runtime"):
            if getattr(self, argument) or argument == "runtime":
                check_name(getattr(self, argument), argument, 63)
        if not re.fullmatch("(gs|s3)://.+", self.output_uri):
            raise ArgumentError("output_uri", self.output_uri, "give a folder that all nodes reach, gs://… or s3://…")
        for argument, least, most in (("nodes", 1, 1000), ("processes_per_node", 1, 64), ("restarts", 0, 100)):
            value = getattr(self, argument)
            if isinstance(value, bool) or value != int(value) or not least <= value <= most:
                raise ArgumentError(argument, value, f"give a whole number, {least} to {most}")
        check_name(self.name, "name", _LONGEST_NAME - len(str(self.nodes - 1)))
        check_resources(self.resources)
        check_labels(self.node_selector, "node_selector")
        for variable, value in self.environment.items():
            if not _VARIABLE.fullmatch(variable):
                raise ArgumentError("environment", {variable: MASK}, "begin with a letter; use letters, digits and _")
            if not isinstance(value, str) or redacted("secret", variable) == MASK:
                fix = "give text, and no secret (see `secrets`): whoever may see the job could read it"
                raise ArgumentError("environment", {variable: MASK}, fix)
        for variable, where in self.secrets.items():
            if not _VARIABLE.fullmatch(variable) or not _SECRET.fullmatch(str(where)):
                # Somebody may have written the secret itself.
                raise ArgumentError("secrets", variable, "give VARIABLE: SECRET/KEY, names of a secret and of its key")
        for each in self.tolerations:
            if not isinstance(each, Mapping) or not set(each) <= _TOLERATION:
                raise ArgumentError("tolerations", each, f"give {', '.join(sorted(_TOLERATION))}")
        if self.shared_memory:
            check_resources({"memory": self.shared_memory})
        for argument in ("start_seconds", "total_seconds"):
            if not getattr(self, argument) > 0:
                raise ArgumentError(argument, getattr(self, argument), "give seconds above 0")


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a training.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def train_job(
    name: str, key: str, tokenized: str, out: str, settings: Mapping[str, Any], config: FinetuneTrainjobConfig
) -> dict[str, Any]:
    """The TrainJob of a fine-tuning."""
    processes = config.nodes * config.processes_per_node
    trainer: dict[str, Any] = {
        "image": training_image(config),
        "command": ["python", "-m", "hfpc.training.node"],
        "args": [tokenized, out, json.dumps(dict(settings), sort_keys=True), str(processes)],
        "numNodes": config.nodes,
        "numProcPerNode": config.processes_per_node,
        "resourcesPerNode": {"requests": dict(config.resources), "limits": dict(config.resources)},
    }
    if variables := _variables(config):
        trainer["env"] = variables
    spec: dict[str, Any] = {"runtimeRef": {"name": config.runtime}, "trainer": trainer}
    # In the namespaces of Kubeflow's users pods get a proxy of Istio, through which nodes do not meet.
    pod: dict[str, Any] = {"metadata": {"labels": dict(_WITHOUT_SIDECAR)}}
    if settings_of_pod := _pod(config):
        pod["spec"] = settings_of_pod
    job = {"name": "node", "template": {"spec": {"template": pod}}}
    patch = {"template": {"spec": {"replicatedJobs": [job]}}}
    spec["runtimePatches"] = [{"manager": "hfpc/finetune", "trainingRuntimeSpec": patch}]
    return {"metadata": {"name": name, "labels": {**MANAGED, JOB: key}, "annotations": {}}, "spec": spec}


def training_image(config: FinetuneTrainjobConfig) -> str:
    """The image that trains: for GPUs where the nodes have some."""
    device = "gpu" if any(each.endswith("/gpu") for each in config.resources) else "cpu"
    return config.image or images.for_device(images.CPU, device)


def _variables(config: FinetuneTrainjobConfig) -> list[dict[str, Any]]:
    """The environment; in it secrets are named only."""
    given: dict[str, dict[str, Any]] = {}
    for variable, where in config.secrets.items():
        secret, _, key = where.partition("/")
        given[variable] = {"valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
    given |= {variable: {"value": value} for variable, value in config.environment.items()}
    return [{"name": variable, **content} for variable, content in sorted(given.items())]


def _pod(config: FinetuneTrainjobConfig) -> dict[str, Any]:
    pod: dict[str, Any] = {}
    if config.service_account:
        pod["serviceAccountName"] = config.service_account
    if config.node_selector:
        pod["nodeSelector"] = dict(config.node_selector)
    spot = [
        {"key": key, "operator": "Equal", "value": config.node_selector[key], "effect": "NoSchedule"}
        for key in _SPOT
        if key in config.node_selector
    ]
    if tolerations := [*map(dict, config.tolerations), *spot]:
        pod["tolerations"] = tolerations
    if config.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": config.shared_memory}
        pod["volumes"] = [{"name": "shared-memory", "emptyDir": memory}]
        mounts = [{"name": "shared-memory", "mountPath": _SHARED_MEMORY}]
        pod["containers"] = [{"name": "node", "volumeMounts": mounts}]
    return pod
