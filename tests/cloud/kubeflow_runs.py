"""How runs of the loopback Kubeflow go on, and what they tell of their tasks."""

from dataclasses import dataclass, field
from typing import Any

from tests.cloud.kubeflow_refusal import Refusal

STATES = ["PENDING", "RUNNING", "SUCCEEDED"]
_BOUNDS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec sun mon tue wed thu fri sat".split()


@dataclass
class Runs:
    """How runs end that are looked at from now on. A run goes on by one state each time.

    Attributes:
        failing_task: Name of a task of the root that fails; "" lets every task succeed.
        logs: Name of a pod to its log.
    """

    failing_task: str = ""
    logs: dict[str, str] = field(default_factory=dict)

    def after(self, state: str) -> str:
        """The state that comes after one."""
        if state not in STATES[:-1]:
            return state
        following = STATES[STATES.index(state) + 1]
        return "FAILED" if following == "SUCCEEDED" and self.failing_task else following


def task_details(run: dict[str, Any], spec: dict[str, Any], outcome: Runs) -> list[dict[str, Any]]:
    """The nodes of the workflow, as the API server lists them: groups, drivers and pods beside the tasks.

    Their children are told by the ids of nodes, in a field that is called `pod_name`.
    """
    state, workflow = run["state"], spec["pipelineInfo"]["name"] + "-x7k2p"
    groups = [_detail(workflow, state), _detail("root-driver", state), _detail("root", state)]
    return groups + _of_dag(spec, spec["root"]["dag"], state, outcome.failing_task, f"{workflow}.root")


def node_id(node: str) -> str:
    """Id of a node, as Argo makes it of the node's name: WORKFLOW-HASH."""
    value = 2166136261
    for byte in node.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return f"{node.partition('.')[0]}-{value}"


def pod_name(node: str, template: str = "system-container-impl") -> str:
    """Name of a node's pod, as Argo makes it of the names of the node and of its template."""
    workflow, _, number = node_id(node).rpartition("-")
    return f"{workflow}-{template}-{number}"


def _of_dag(spec: dict[str, Any], dag: dict[str, Any], state: str, failing: str, above: str) -> list[dict[str, Any]]:
    """The tasks of a pipeline, a condition or a loop, and of those in it."""
    details, tasks = [], dag["tasks"]
    for name, task in tasks.items():
        own = state
        if state == "FAILED":
            own = "FAILED" if name == failing else "SKIPPED" if name in _after(tasks, failing) else "SUCCEEDED"
        details.append(_detail(f"{name}-driver", "SUCCEEDED"))
        inner = spec["components"][task["componentRef"]["name"]].get("dag")
        if inner:
            details += [_detail(name, own), *_of_dag(spec, inner, own, failing, f"{above}.{name}")]
            continue
        executor = f"{above}.{name}.executor"
        # A step that may be started again is a node without a pod; each attempt is a child of it.
        retries = task.get("retryPolicy", {}).get("maxRetryCount", 0) if own == "FAILED" else 0
        attempts = [f"({number})" for number in range(retries + 1)] if "retryPolicy" in task else []
        details.append(_detail(task["taskInfo"]["name"], own, executor))
        details.append(_detail("executor", own, *(executor + each for each in attempts)))
        details += [_detail(f"executor{each}", own) for each in attempts]
    return details


def _detail(name: str, state: str, *nodes: str) -> dict[str, Any]:
    children = {"child_tasks": [{"pod_name": node_id(node)} for node in nodes]} if nodes else {}
    times = {"start_time": "2026-11-30T06:00:00Z", "end_time": "1970-01-01T00:00:00Z"}
    return {"task_id": name, "display_name": name, "state": state, **times, **children}


def _after(tasks: dict[str, Any], name: str) -> set[str]:
    """The tasks that wait for a task, or for one of those."""
    found = {each for each, task in tasks.items() if name in task.get("dependentTasks", [])}
    return found.union(*(_after(tasks, each) for each in found))


def check_cron(cron: str) -> None:
    """Refuses what the API server's parser of crons refuses: six fields with seconds, Sunday is 0 and never 7."""
    fields = cron.split()
    if len(fields) != len(_BOUNDS):
        raise Refusal(400, f"Schedule cron is not supported: expected 6 fields, found {len(fields)}: {cron}")
    for text, (least, most) in zip(fields, _BOUNDS, strict=True):
        for part in text.split(","):
            for end in part.partition("/")[0].split("-"):
                known = end in "*?" or end.lower() in _NAMES or (end.isdecimal() and least <= int(end) <= most)
                if not known:
                    raise Refusal(400, f"Schedule cron is not supported: {end} in {cron}")
