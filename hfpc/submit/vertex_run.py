"""A run on Vertex AI Pipelines as its API tells it, in this package's own terms."""

from dataclasses import dataclass
from typing import Any

from hfpc.redaction import redacted
from hfpc.runs import Run, State, Task

_TASK_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "CANCEL_PENDING": "running",
    "CANCELLING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "failed",
    "SKIPPED": "succeeded",  # Vertex AI's word for outputs taken from the cache
    "NOT_TRIGGERED": "skipped",
}
_RUN_STATES: dict[str, State] = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELLED": "failed"}


@dataclass(frozen=True, kw_only=True)
class VertexRun:
    """A run as it is now.

    Attributes:
        run: The run with its tasks.
        state: Vertex AI's own word, e.g. "SUCCEEDED", "CANCELLED" or "QUEUED".
    """

    run: Run
    state: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _RUN_STATES


def read_run(job: Any) -> VertexRun:
    """The run that a `PipelineJob` of the API tells of."""
    state = job.state.name.removeprefix("PIPELINE_STATE_")
    job_id = job.name.rpartition("/")[2]
    started = _seconds(job.start_time) or _seconds(job.create_time) or 0.0
    error = "it was cancelled" if state == "CANCELLED" else _one_line(job.error.message)
    run = Run(
        id=job_id,
        pipeline=job.display_name or job_id,
        state=_RUN_STATES.get(state, "running"),
        started=started,
        ended=_seconds(job.end_time),
        tasks=tuple(_tasks(job_id, job.job_detail.task_details)),
        error=error,
    )
    return VertexRun(run=run, state=state)


def _tasks(job_id: str, details: Any) -> list[Task]:
    """The tasks that do something, each named by its path through nested pipelines.

    Vertex AI also lists the run itself and every nested pipeline, condition and loop as a task.
    """
    by_id = {detail.task_id: detail for detail in details}
    groups = {detail.parent_task_id for detail in details}

    def path(detail: Any) -> str:
        parent = by_id.get(detail.parent_task_id)
        if parent is None or parent.task_name == job_id:
            return str(detail.task_name)
        return f"{path(parent)}/{detail.task_name}"

    return [_task(path(detail), detail) for detail in details if _does_something(detail, groups, job_id)]


def _does_something(detail: Any, groups: set[int], job_id: str) -> bool:
    return detail.task_id not in groups and detail.task_name != job_id


def _task(path: str, detail: Any) -> Task:
    state = _TASK_STATES.get(detail.state.name, "pending")
    error = _one_line(detail.error.message) or ("it was cancelled" if detail.state.name == "CANCELLED" else "")
    return Task(
        name=path,
        display_name=path,
        component=detail.task_name,
        state=state,
        started=_seconds(detail.start_time) or _seconds(detail.create_time),
        ended=_seconds(detail.end_time),
        error=error if state == "failed" else "",
        cached=detail.state.name == "SKIPPED",
    )


def _one_line(text: str) -> str:
    return " ".join(str(redacted(text)).split())


def _seconds(time: Any) -> float | None:
    """Seconds since the epoch; None for a time that is not set."""
    return time.timestamp() if time and time.timestamp() > 0 else None
