"""A run on Kubeflow Pipelines as its API tells it, in this package's own terms."""

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from itertools import chain, count, takewhile
from typing import Any

from hfpc.redaction import redacted
from hfpc.runs import Run, State, Task
from hfpc.submit.graph import Graph

_TASK_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "CANCELING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "failed",
    "SKIPPED": "skipped",
}
_RUN_STATES: dict[str, State] = {
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "failed",
}
_ITERATION = re.compile(r"\(\d+(:[^)]*)?\)$")  # how a workflow marks the turns of a loop
_LONGEST = 600  # characters of an error
_POD = "{workflow}-{template}-{hash}"
_TEMPLATE = "system-container-impl"
_FNV_PRIME = 16777619


@dataclass(frozen=True, kw_only=True)
class KubeflowRun:
    """A run as it is now.

    Attributes:
        run: The run with its tasks.
        state: Kubeflow's own word, e.g. "SUCCEEDED" or "CANCELING".
    """

    run: Run
    state: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _RUN_STATES


def read_run(answer: Any, graph: Graph, read_log: Callable[[str], str]) -> KubeflowRun:
    """The run that the API tells of.

    Args:
        answer: A `V2beta1Run`.
        graph: What was submitted: it tells the tasks from the drivers and groups that the API lists beside them.
        read_log: Name of a pod to its log; "" where there is none.
    """
    state = str(answer.state or "PENDING")
    details = (answer.run_details.task_details if answer.run_details else None) or []
    run = Run(
        id=answer.display_name,
        pipeline=graph.spec["pipelineInfo"]["name"],
        state=_RUN_STATES.get(state, "running"),
        started=_seconds(answer.created_at) or 0.0,
        ended=_seconds(answer.finished_at),
        tasks=tuple(_tasks(details, graph, read_log)),
        error="it was cancelled" if state == "CANCELED" else _error_of(answer),
    )
    return KubeflowRun(run=run, state=state)


def _tasks(details: list[Any], graph: Graph, read_log: Callable[[str], str]) -> Iterator[Task]:
    """The tasks that do something, in the order of the graph.

    The API names a task without the pipelines around it. Where several have one name, as the turns of a loop do, they
    are numbered.
    """
    by_name: dict[str, list[Any]] = {}
    nodes = frozenset(node for detail in details for node in _children(detail))
    for detail in details:
        by_name.setdefault(_ITERATION.sub("", detail.display_name or ""), []).append(detail)
    for step in graph.steps:
        own = step.name.rpartition("/")[2]
        found = by_name.pop(own, None) or by_name.pop(step.display_name, None) or []
        for number, detail in enumerate(found, 1):
            name = own if len(found) == 1 else f"{own} ({number})"
            yield _task(name, own, detail, nodes, read_log)


def _task(name: str, component: str, detail: Any, nodes: Set[str], read_log: Callable[[str], str]) -> Task:
    state = _TASK_STATES.get(str(detail.state), "pending")
    return Task(
        name=name,
        display_name=name,
        component=component,
        state=state,
        started=_seconds(detail.start_time),
        ended=_seconds(detail.end_time) if state not in ("pending", "running") else None,
        error=_why(detail, component, nodes, read_log) if state == "failed" else "",
    )


def _why(detail: Any, component: str, nodes: Set[str], read_log: Callable[[str], str]) -> str:
    """Why a task failed: what the API says, else the last line of its log, else where to look."""
    if detail.state == "CANCELED":
        return "it was cancelled"
    if text := _error_of(detail):
        return text
    pods = [_pods(node, component, nodes) for node in _children(detail)]
    for pod in chain.from_iterable(pods):
        lines = [line for line in read_log(pod).splitlines() if line.strip()]
        if lines:
            return _one_line(re.sub(r"^hfpc\.errors\.\w+: ", "", lines[-1]))
    return f"Kubeflow does not say why, see the log of {', '.join(each[0] for each in pods) or 'its pod'}"


def _children(detail: Any) -> list[str]:
    """What the API calls names of pods, and are ids of the workflow's nodes: WORKFLOW-HASH."""
    return [child.pod_name for child in detail.child_tasks or [] if child.pod_name]


def _pods(node: str, component: str, nodes: Set[str]) -> list[str]:
    """What the pod of a workflow's node may be called, the likeliest first.

    The log is asked for by pod, whose name has the workflow's template in it too. A step that may be started again is
    a node without a pod, whose children are its attempts: the last one says why. Its template has another name, which
    releases before 2.14 made of the step's. In old clusters, and in archives of logs, pods are called as nodes.

    Args:
        node: Id of a node.
        component: Name of its step.
        nodes: Ids of the children of all nodes.
    """
    attempts = list(takewhile(nodes.__contains__, (_attempt(node, number) for number in count())))
    last = attempts[-1] if attempts else node
    workflow, _, hash_ = last.rpartition("-")
    templates = [f"retry-{_TEMPLATE}", f"{component}-{_TEMPLATE}"] if attempts else [_TEMPLATE]
    return [*(_POD.format(workflow=workflow, template=each, hash=hash_) for each in templates), last]


def _attempt(node: str, number: int) -> str:
    """Id of an attempt of a node: Argo's hash (FNV-1a) of the node's name goes on with "(NUMBER)"."""
    workflow, _, hash_ = node.rpartition("-")
    if not hash_.isdecimal():
        return ""
    value = int(hash_)
    for byte in f"({number})".encode():
        value = (value ^ byte) * _FNV_PRIME % 2**32
    return f"{workflow}-{value}"


def _error_of(answer: Any) -> str:
    return _one_line(answer.error.message or "") if answer.error else ""


def _one_line(text: str) -> str:
    return " ".join(str(redacted(text)).split())[:_LONGEST]


def _seconds(time: Any) -> float | None:
    """Seconds since the epoch; None for a time that is not set, which the API writes as 1970."""
    return time.timestamp() if time and time.timestamp() > 0 else None
