"""Puts the step `finetune` of a compiled pipeline on the machines of a profile, and gives room to what loads its model.

Whatever else is in the pipeline stays.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hfpc import images
from hfpc.errors import ArgumentError
from hfpc.submit.custom_job import as_custom_job
from hfpc.submit.graph import Spec
from hfpc.submit.kubernetes import cluster
from hfpc.submit.profiles import Profile

_FUNCTION = "finetune"
_LOADING = ("compare_models", "evaluate", "optimize")  # load on CPUs what finetune trained
_DEVICE_VARIABLE = "HFPC_DEVICE"  # see hfpc.training.launch
_DEVICES = {"cpu": "cpu", "gpu": "cuda", "tpu": "xla"}


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A pipeline on the machines of a profile.

    Attributes:
        spec: The pipeline spec.
        executors: Names of the executors that train, on the machines of the profile.
    """

    spec: Spec
    executors: tuple[str, ...] = ()


def place(spec: Spec, profile: Profile, target: str) -> Placed:
    """The pipeline with its `finetune` steps, however deep, on the machines of a profile.

    Steps that load the trained model get memory for it, unless the pipeline says itself what they get.

    Args:
        spec: A compiled pipeline; it is not changed.
        profile: The machines.
        target: "vertex" or "kubeflow".

    Raises:
        ArgumentError: The pipeline has no such step or asks for another number of processes, or the target
            cannot do it.
    """
    if not profile.machine_type:
        return Placed(spec=spec)
    if target == "kubeflow" and (profile.nodes > 1 or profile.tpu_topology):
        fix = "for kubeflow it is one node with GPUs: this one is for Vertex AI"
        raise ArgumentError("profile", profile.name, fix)
    placed = copy.deepcopy(spec)
    names = list(_finetune_components(placed))
    if not names:
        raise ArgumentError("profile", profile.name, "the pipeline has no step finetune, which a profile is for")
    executors = []
    for name in names:
        _ask_for_processes(placed, name, profile)
        label = placed["components"][name]["executorLabel"]
        container = placed["deploymentSpec"]["executors"][label]["container"]
        container["image"] = images.for_device(container["image"], profile.image)
        container.pop("resources", None)
        own = [each for each in container.get("env", []) if each["name"] != _DEVICE_VARIABLE]
        container["env"] = [*own, {"name": _DEVICE_VARIABLE, "value": _DEVICES[profile.image]}]
        executors.append(label)
        if target == "kubeflow":
            container["resources"] = _resources(cluster().gpu_resource, profile.devices)
        elif profile.is_custom_job:
            as_custom_job(placed, name, profile)
        else:
            accelerators = _resources(profile.accelerator, profile.devices)
            container["resources"] = accelerators | _limits(profile.cpus, profile.memory)
    if profile.loading_memory:
        for container in _loading_containers(placed):
            container.setdefault("resources", _loading(profile, target))
    return Placed(spec=placed, executors=tuple(executors))


def _finetune_components(spec: Spec) -> Iterator[str]:
    """Names of the components that are `finetune`: kfp numbers them where a pipeline has several."""
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    for name, component in spec.get("components", {}).items():
        container = executors.get(component.get("executorLabel"), {}).get("container", {})
        if container.get("args", [])[-2:] == ["--function_to_execute", _FUNCTION] and (
            "processes" in component.get("inputDefinitions", {}).get("parameters", {})
        ):
            yield name


def _loading_containers(spec: Spec) -> Iterator[dict[str, Any]]:
    """Containers of our own steps that load the trained model."""
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        flag, function = ["", "", *container.get("args", [])][-2:]
        if flag == "--function_to_execute" and function in _LOADING and "/hfpc-python-" in container["image"]:
            yield container


def _ask_for_processes(spec: Spec, component: str, profile: Profile) -> None:
    """Makes the profile's number of processes the component's default, so that any other is an error of the step."""
    for dag in (spec["root"], *spec["components"].values()):
        for name, task in dag.get("dag", {}).get("tasks", {}).items():
            if task["componentRef"]["name"] != component:
                continue
            given = task.get("inputs", {}).get("parameters", {}).get("processes", {})
            constant = given.get("runtimeValue", {}).get("constant")
            if constant == 0:
                del task["inputs"]["parameters"]["processes"]
            elif constant not in (None, profile.processes):
                fix = f"profile {profile.name} runs {profile.processes} in {name}: leave processes out of the pipeline"
                raise ArgumentError("processes", int(constant), fix)
    parameter = spec["components"][component]["inputDefinitions"]["parameters"]["processes"]
    parameter["defaultValue"] = float(profile.processes)


def _resources(accelerator: str, count: int) -> dict[str, Any]:
    """As kfp writes them: each setting under its old and its new name."""
    both = {"type": accelerator, "count": str(count), "resourceType": accelerator, "resourceCount": str(count)}
    return {"accelerator": both}


def _limits(cpus: int, memory: int) -> dict[str, Any]:
    """CPUs and memory of a machine type: Vertex AI takes the machine that comes closest."""
    return {
        "cpuLimit": float(cpus),
        "memoryLimit": float(memory),
        "resourceCpuLimit": str(cpus),
        "resourceMemoryLimit": f"{memory}G",
    }


def _loading(profile: Profile, target: str) -> dict[str, Any]:
    """What a step gets that loads the trained model.

    On Kubeflow it is memory alone, and a request: a step may use all that its node has anyhow, only must the node be
    large enough. All CPUs of a machine would fit no node of that size, as Kubernetes keeps some for itself.
    """
    if target == "vertex":
        return _limits(profile.loading_cpus, profile.loading_memory)
    return {
        "memoryRequest": float(profile.loading_memory),
        "resourceMemoryRequest": f"{profile.loading_memory}G",
    }
