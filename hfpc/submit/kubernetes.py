"""Kubernetes settings of a compiled pipeline: secrets, shared memory, nodes, volumes. Only Kubeflow reads them.

They are made by kfp-kubernetes, and become the second document of the YAML. What a pipeline says itself stays.
"""

import copy
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from hfpc import images
from hfpc.errors import ArgumentError
from hfpc.redaction import MASK, redacted
from hfpc.submit.graph import Spec
from hfpc.submit.profiles import PROFILES, SPOT_SUFFIX, Cluster, Profile

CLUSTER_VARIABLE = "HFPC_CLUSTER"
"""Names a YAML file of what differs in a cluster: the attributes of `Cluster`."""

CACHE_PATH = "/cache/huggingface"
"""Where `HF_HOME` is mounted."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_LEAST_SHARED_MEMORY = 2  # GB, for loaders with workers, which Kubernetes' 64 MB let die; a part of the pod's memory
_FINETUNES = ["--function_to_execute", "finetune"]
_NAME = re.compile("[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile("[-._a-zA-Z0-9]{1,253}")
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_TOLERATION = {"key", "operator", "value", "effect"}


def cluster() -> Cluster:
    """The cluster that the file in `HFPC_CLUSTER` describes, or one with the usual names.

    Raises:
        ArgumentError: The file cannot be read, or says something that no cluster has.
    """
    path = os.environ.get(CLUSTER_VARIABLE, "")
    if not path:
        return Cluster()
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(CLUSTER_VARIABLE, path, f"it cannot be read ({error})") from error
    usual = Cluster()
    known = {each.name: type(getattr(usual, each.name)) for each in fields(Cluster)}
    if not isinstance(content, dict) or set(content) - set(known):
        raise ArgumentError(CLUSTER_VARIABLE, path, f"give a file of {', '.join(known)}, and nothing else")
    given: dict[str, Any] = {}
    for name, value in content.items():
        kind = list if known[name] is tuple else known[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ArgumentError(name, value, f"give a {kind.__name__} in {path}")
        given[name] = known[name](value)
    found = Cluster(**given)
    _check(found)
    return found


def with_kubernetes(
    spec: Spec, platforms: dict[str, Any], profile: Profile, trained: tuple[str, ...]
) -> tuple[Spec, dict[str, Any]]:
    """A pipeline with the Kubernetes settings of a profile.

    Our own steps get the secrets and the cache; images of others get no secret of ours. The steps that train get
    shared memory, and what GPUs need beside it.

    Args:
        spec: A compiled pipeline that is placed already; it is not changed.
        platforms: Its platform spec, as a dictionary in the form of its JSON; it is not changed.
        profile: The machines.
        trained: Names of the executors that run on them.

    Returns:
        The two, changed.

    Raises:
        ArgumentError: The file in `HFPC_CLUSTER` cannot be used.
    """
    place = cluster()
    spec, platforms = copy.deepcopy(spec), copy.deepcopy(platforms)
    settings = {
        label: each["container"]
        for label, each in spec["deploymentSpec"]["executors"].items()
        if label in trained or _is_ours(each.get("container", {}).get("image", ""))
    }
    if not settings:
        return spec, platforms
    kubernetes = platforms.setdefault("platforms", {}).setdefault("kubernetes", {})
    executors = kubernetes.setdefault("deploymentSpec", {}).setdefault("executors", {})
    for label, container in settings.items():
        task = _Task(executors.get(label, {}))
        if _is_ours(container["image"]):
            task.use_secrets(place)
            for variable, value in place.environment.items():
                container["env"] = _with_variable(container.get("env", []), variable, value)
            if place.cache_claim and task.mount_cache(place):
                container["env"] = _with_variable(container.get("env", []), "HF_HOME", CACHE_PATH)
        if label in trained or container.get("args", [])[-2:] == _FINETUNES:
            task.use_shared_memory(profile.shared_memory or _LEAST_SHARED_MEMORY)
        if label in trained:
            task.use_gpus(place, profile)
        executors[label] = task.settings
    if profile.spot:
        _retry(spec, trained, place)
    return spec, platforms


def on_spot_machines(platforms: dict[str, Any]) -> set[str]:
    """Names of the executors that a platform spec puts on spot machines.

    Raises:
        ArgumentError: The file in `HFPC_CLUSTER` cannot be used.
    """
    labels = cluster().spot_labels
    executors = platforms.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return {
        name
        for name, settings in executors.items()
        for term in settings.get("nodeAffinity", [])
        for expression in term.get("matchExpressions", [])
        if expression["key"] in labels
    }


class _Task:
    """Settings of one executor.

    Args:
        own: What the pipeline says itself.
    """

    def __init__(self, own: dict[str, Any]) -> None:
        from kfp import dsl
        from kfp.dsl import structures

        container = structures.ContainerSpecImplementation(image="step")
        step = structures.ComponentSpec(name="step", implementation=structures.Implementation(container=container))
        self._task = dsl.PipelineTask(step, args={})
        self._task.platform_config["kubernetes"] = copy.deepcopy(own)

    @property
    def settings(self) -> dict[str, Any]:
        """As kfp-kubernetes writes them."""
        found: dict[str, Any] = self._task.platform_config["kubernetes"]
        return found

    def use_secrets(self, place: Cluster) -> None:
        """Secrets as environment variables, but for variables that the pipeline sets itself."""
        from kfp import kubernetes

        own = {pair["envVar"] for each in self.settings.get("secretAsEnv", []) for pair in each.get("keyToEnv", [])}
        for variable, where in place.secrets.items():
            secret, _, key = where.partition("/")
            if variable not in own:
                kubernetes.use_secret_as_env(self._task, secret, {key: variable}, optional=True)
        pulled = {each.get("secretName") for each in self.settings.get("imagePullSecret", [])}
        if missing := [name for name in place.image_pull_secrets if name not in pulled]:
            kubernetes.set_image_pull_secrets(self._task, missing)

    def mount_cache(self, place: Cluster) -> bool:
        """Mounts the cache; returns whether it is there now: not where the pipeline has something else in its place."""
        from kfp import kubernetes

        claims = {each["mountPath"]: each.get("constant") for each in self.settings.get("pvcMount", [])}
        if CACHE_PATH not in claims:
            kubernetes.mount_pvc(self._task, place.cache_claim, CACHE_PATH)
        return claims.get(CACHE_PATH, place.cache_claim) == place.cache_claim

    def use_shared_memory(self, size: int) -> None:
        """Shared memory of so many GB, unless the pipeline mounts some itself."""
        from kfp import kubernetes

        if _SHARED_MEMORY not in {each["mountPath"] for each in self.settings.get("emptyDirMounts", [])}:
            limit = f"{size}Gi"
            kubernetes.empty_dir_mount(self._task, "shared-memory", _SHARED_MEMORY, medium="Memory", size_limit=limit)

    def use_gpus(self, place: Cluster, profile: Profile) -> None:
        """Nodes with the GPUs of a profile."""
        from kfp import kubernetes

        labels = place.node_selectors.get(
            profile.name.removesuffix(SPOT_SUFFIX), {place.gpu_label: profile.gpu_product}
        )
        own = self.settings.get("nodeSelector", {}).get("labels", {})
        for key, value in labels.items():
            if value and key not in own:
                kubernetes.add_node_selector(self._task, key, value)
        spot = place.spot_labels if profile.spot else {}
        taints = [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in spot.items()
        ]
        for toleration in (*place.tolerations, *taints):
            if toleration not in self.settings.get("tolerations", []):
                kubernetes.add_toleration(self._task, **toleration)
        # Terms are alternatives: a node with any of the labels will do.
        for key, value in spot.items() if "nodeAffinity" not in self.settings else ():
            kubernetes.add_node_affinity(self._task, [{"key": key, "operator": "In", "values": [value]}])


def _is_ours(image: str) -> bool:
    return image.startswith((f"{images.REPOSITORY}/hfpc-", f"{images.DEFAULT_REPOSITORY}/hfpc-"))


def _with_variable(variables: list[dict[str, str]], name: str, value: str) -> list[dict[str, str]]:
    there = any(each["name"] == name for each in variables)
    return variables if there else [*variables, {"name": name, "value": value}]


def _retry(spec: Spec, trained: tuple[str, ...], place: Cluster) -> None:
    """Lets the tasks that train be started again, but where the pipeline says how often."""
    policy = {
        "maxRetryCount": place.spot_retries,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }
    for task in _tasks(spec):
        component = spec["components"][task["componentRef"]["name"]]
        if component.get("executorLabel") in trained:
            task.setdefault("retryPolicy", policy)


def _tasks(spec: Spec) -> Iterator[dict[str, Any]]:
    for dag in (spec["root"], *spec.get("components", {}).values()):
        yield from dag.get("dag", {}).get("tasks", {}).values()


def _check(place: Cluster) -> None:
    """Refuses names that Kubernetes would refuse."""
    for variable, where in place.secrets.items():
        secret, _, key = str(where).partition("/")
        if not (_VARIABLE.fullmatch(str(variable)) and _NAME.fullmatch(secret) and _KEY.fullmatch(key)):
            # Somebody may have written the secret itself.
            raise ArgumentError("secrets", variable, "give VARIABLE: SECRET/KEY, the name of a secret and of its key")
    for variable, value in place.environment.items():
        named = _VARIABLE.fullmatch(str(variable))
        if not named or not isinstance(value, str) or redacted("secret", variable) == MASK:
            fix = "give VARIABLE: text, and no secret: those go to secrets, as VARIABLE: SECRET/KEY"
            raise ArgumentError("environment", variable, fix)
    for name in (*place.image_pull_secrets, *filter(None, [place.cache_claim])):
        if not _NAME.fullmatch(str(name)):
            raise ArgumentError("image_pull_secrets or cache_claim", name, "give the name of a Kubernetes object")
    for toleration in place.tolerations:
        if not isinstance(toleration, dict) or not set(toleration) <= _TOLERATION:
            raise ArgumentError("tolerations", toleration, f"give {', '.join(sorted(_TOLERATION))}")
    names = [profile.name for profile in PROFILES]
    for name, labels in place.node_selectors.items():
        if name not in names or not isinstance(labels, dict):
            raise ArgumentError("node_selectors", name, f"give labels for one of {', '.join(names)}")
    if place.spot_retries < 0:
        raise ArgumentError("spot_retries", place.spot_retries, "give at least 0")
