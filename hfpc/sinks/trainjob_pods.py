"""Why the nodes of a TrainJob do not start, as its pods and events tell it."""

from collections.abc import Iterator
from typing import Any

from hfpc.sinks.kubernetes_calls import Namespace

_JOBSET = "jobset.sigs.k8s.io/jobset-name"  # label of the pods, with the name of the TrainJob
_ON_THE_WAY = ("ContainerCreating", "PodInitializing")
_LONGEST = 600  # characters
_MOST = 100  # pods or events that are read


def why_not_started(space: Namespace, name: str) -> str:
    """What keeps a job's nodes from starting, in one line; where to look, where nothing tells it to this caller.

    Args:
        space: Namespace of the job.
        name: Name of the job.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        told = " ".join("; ".join(dict.fromkeys(_reasons(space, name))).split())[:_LONGEST]
    except (ApiException, HTTPError):  # e.g. no right to read pods: what keeps the nodes is what matters
        told = ""
    place = f"kubectl --namespace {space.name} describe"
    return told or f"see `{place} trainjob {name}` and `{place} pods --selector {_JOBSET}={name}`"


def _reasons(space: Namespace, name: str) -> Iterator[str]:
    """What its pods say; where these say nothing, or there are none, the warnings about it, its job and its pods."""
    from kubernetes.client import CoreV1Api

    core, limits = CoreV1Api(space.api.api_client), {"limit": _MOST, "_request_timeout": space.patience.call}
    pods = core.list_namespaced_pod(space.name, label_selector=f"{_JOBSET}={name}", **limits).items
    told = [reason for pod in pods for reason in _of_pod(pod)]
    yield from told
    if told:
        return
    for about in (name, f"{name}-node-0", *(pod.metadata.name for pod in pods[:1])):
        selector = f"involvedObject.name={about},type=Warning"
        for event in core.list_namespaced_event(space.name, field_selector=selector, **limits).items:
            yield f"{event.reason}: {event.message}"


def _of_pod(pod: Any) -> Iterator[str]:
    """Why a pod waits: it finds no node, or a container of it does not start."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"{condition.reason}: {condition.message}"
    for container in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason not in _ON_THE_WAY:
            yield f"{waiting.reason}: {waiting.message or 'no message'}"
