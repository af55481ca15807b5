"""The machines that `finetune` can be compiled for, by name. The table is at the end.

A profile is about the step `finetune`, and about the memory of the steps that load on CPUs what it trained. The others
prepare and deploy, and keep what the pipeline says.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from hfpc.errors import ArgumentError

SPOT_SUFFIX = "-spot"
"""`NAME-spot` is profile NAME on machines that the cloud may take back at any moment, for a fraction of the price."""

_MOST_TASK_CPUS = 96  # what Vertex AI Pipelines takes in the settings of a task
_MOST_TASK_MEMORY = 624  # GB, the same


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Machines for one fine-tuning.

    Attributes:
        name: What people call it.
        what: One sentence about it.
        machine_type: Machine type of Compute Engine; "" leaves the machine to the pipeline and the platform.
        cpus: CPUs of a machine.
        memory: Memory of a machine in GB.
        accelerator: Vertex AI's name of the accelerator; "" for none, and for TPUs, which the machine type names.
        devices: Accelerators of a machine; each gets a process.
        device_memory: Memory of an accelerator in GB.
        nodes: Machines that train together.
        tpu_topology: Shape of the slice, e.g. "1x1"; "" where there is no TPU.
        gpu_product: Value of the label that NVIDIA's GPU operator gives to Kubernetes nodes with this GPU; "" for none.
        shared_memory: Size of `/dev/shm` in GB on Kubernetes, where 64 MB are the default and too little for
            NCCL and for loaders with workers; 0 takes 2 GB. Vertex AI has no setting for it.
        boot_disk_type: Type of the boot disk; "" is Vertex AI's default. Boot disk and type go to custom jobs
            only: tasks of Vertex AI Pipelines have no setting for them.
        boot_disk: Size of the boot disk in GB.
        loading_cpus: CPUs for each step that loads the trained model: `optimize`, `evaluate` and `compare_models`; 0
            leaves these steps to the pipeline and the platform. As many as machines with that memory have.
        loading_memory: Memory in GB for each of them. Each accelerator holds the whole model while it trains, in fp32,
            as CPUs do then: what trained may need `device_memory` and what Python takes. Vertex AI's own 16 GB are
            enough after accelerators of 16 GB only.
        image: Which of our images of Python runs: cpu, gpu (CUDA) or tpu (torch_xla).
        spot: Whether the machines may be taken back at any moment.
    """

    name: str
    what: str
    machine_type: str = ""
    cpus: int = 0
    memory: int = 0
    accelerator: str = ""
    devices: int = 0
    device_memory: int = 0
    nodes: int = 1
    tpu_topology: str = ""
    gpu_product: str = ""
    shared_memory: int = 0
    boot_disk_type: str = "pd-ssd"
    boot_disk: int = 100
    loading_cpus: int = 0
    loading_memory: int = 0
    image: Literal["cpu", "gpu", "tpu"] = "cpu"
    spot: bool = False

    @property
    def processes(self) -> int:
        """Processes that train together; 0 where the profile does not say."""
        return self.nodes * self.devices

    @property
    def is_custom_job(self) -> bool:
        """Whether it needs a Vertex AI custom job, because the settings of a task cannot say it."""
        large = self.cpus > _MOST_TASK_CPUS or self.memory > _MOST_TASK_MEMORY
        return self.nodes > 1 or bool(self.tpu_topology) or self.spot or large


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a Kubernetes cluster calls the things that profiles need. `hfpc.submit.kubernetes` reads one from a file.

    Attributes:
        gpu_resource: Resource that a pod asks for to get GPUs.
        gpu_label: Label of nodes that says which GPU they have; `gpu_product` of a profile is its value.
        node_selectors: Name of a profile to the labels of the nodes for it, in place of the two above.
        tolerations: Taints that pods with GPUs put up with: key, operator, value and effect as Kubernetes has them.
        spot_labels: Labels of spot machines, of which a node has one; a pod for them puts up with taints of that name.
        spot_retries: How often a step on spot machines is started again.
        secrets: Environment variable to `SECRET/KEY`. A secret that is not there leaves the variable out.
        environment: Environment variables of our steps as they are, no secrets, e.g. where Kubeflow's own store is:
            `AWS_ENDPOINT_URL: http://seaweedfs.kubeflow:9000`.
        image_pull_secrets: Secrets to pull our images with.
        cache_claim: PersistentVolumeClaim that keeps what is downloaded from the Hub, as `HF_HOME`; "" for none. Steps
            that run at once on several nodes need one that several nodes may write to.
    """

    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "nvidia.com/gpu.product"
    node_selectors: dict[str, dict[str, str]] = field(default_factory=dict)
    tolerations: tuple[dict[str, str], ...] = ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},)
    spot_labels: dict[str, str] = field(
        default_factory=lambda: {
            "cloud.google.com/gke-spot": "true",
            "eks.amazonaws.com/capacityType": "SPOT",
            "karpenter.sh/capacity-type": "spot",
            "kubernetes.azure.com/scalesetpriority": "spot",
        }
    )
    spot_retries: int = 5
    secrets: dict[str, str] = field(
        default_factory=lambda: {
            "HF_TOKEN": "huggingface/HF_TOKEN",
            "AWS_ACCESS_KEY_ID": "aws/AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY": "aws/AWS_SECRET_ACCESS_KEY",
        }
    )
    environment: dict[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    cache_claim: str = ""


def find_profile(name: str) -> Profile:
    """The profile with a name.

    Args:
        name: Name of a profile, e.g. "gpu-l4", or with `-spot` behind it.

    Raises:
        ArgumentError: There is no such profile, or none of it with spot machines.
    """
    known = {profile.name: profile for profile in PROFILES}
    base = name.removesuffix(SPOT_SUFFIX)
    if base not in known:
        raise ArgumentError("profile", name, f"give one of {', '.join(known)}, or one of them with {SPOT_SUFFIX}")
    if name == base:
        return known[base]
    if not known[base].machine_type:
        raise ArgumentError("profile", name, f"{base} names no machine, so none can be a spot machine: give {base}")
    return replace(known[base], name=name, spot=True)


def machines_of(profile: Profile) -> str:
    """Machines and accelerators in words, e.g. "2 x a3-highgpu-8g, 8 x NVIDIA_H100_80GB each"."""
    if not profile.machine_type:
        return ""
    machines = f"{profile.nodes} x {profile.machine_type}" if profile.nodes > 1 else profile.machine_type
    if profile.tpu_topology:
        return f"{machines}, TPU {profile.tpu_topology}"
    each = " each" if profile.nodes > 1 else ""
    return f"{machines}, {profile.devices} x {re.sub('^NVIDIA_(TESLA_)?', '', profile.accelerator)}{each}"


PROFILES = (
    Profile(name="cpu", what="As the pipeline says; on Vertex AI e2-standard-4 where it says nothing."),
    Profile(
        name="gpu-t4",
        what="One T4: the cheapest GPU; no bf16.",
        machine_type="n1-standard-8",
        cpus=8,
        memory=30,
        accelerator="NVIDIA_TESLA_T4",
        gpu_product="Tesla-T4",
        devices=1,
        device_memory=16,
        shared_memory=8,
        image="gpu",
    ),
    Profile(
        name="gpu-l4",
        what="One L4: for models up to a billion parameters, larger ones with LoRA.",
        machine_type="g2-standard-8",
        cpus=8,
        memory=32,
        accelerator="NVIDIA_L4",
        gpu_product="NVIDIA-L4",
        devices=1,
        device_memory=24,
        shared_memory=8,
        loading_cpus=8,
        loading_memory=30,
        image="gpu",
    ),
    Profile(
        name="gpu-a100x4",
        what="Four A100 with 40 GB in one machine.",
        machine_type="a2-highgpu-4g",
        cpus=48,
        memory=340,
        accelerator="NVIDIA_TESLA_A100",
        gpu_product="NVIDIA-A100-SXM4-40GB",
        devices=4,
        device_memory=40,
        shared_memory=64,
        boot_disk=200,
        loading_cpus=16,
        loading_memory=120,
        image="gpu",
    ),
    Profile(
        name="gpu-h100x8",
        what="Eight H100 with 80 GB in one machine, as a custom job.",
        machine_type="a3-highgpu-8g",
        cpus=208,
        memory=1872,
        accelerator="NVIDIA_H100_80GB",
        gpu_product="NVIDIA-H100-80GB-HBM3",
        devices=8,
        device_memory=80,
        shared_memory=256,
        boot_disk=500,
        loading_cpus=16,
        loading_memory=120,
        image="gpu",
    ),
    Profile(
        name="gpu-h100x8x2",
        what="Two machines with eight H100 each, which train one model together, as a custom job.",
        machine_type="a3-highgpu-8g",
        cpus=208,
        memory=1872,
        accelerator="NVIDIA_H100_80GB",
        gpu_product="NVIDIA-H100-80GB-HBM3",
        devices=8,
        device_memory=80,
        nodes=2,
        shared_memory=256,
        boot_disk=500,
        loading_cpus=16,
        loading_memory=120,
        image="gpu",
    ),
    Profile(
        name="tpu-v5e",
        what="One chip of a TPU v5e, as a custom job: the launcher starts one process on a TPU machine.",
        machine_type="ct5lp-hightpu-1t",
        cpus=24,
        memory=48,
        devices=1,
        device_memory=16,
        tpu_topology="1x1",
        boot_disk_type="",
        image="tpu",
    ),
)
"""All profiles."""
