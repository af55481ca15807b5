"""Local runs: a folder for each under `$HFPC_HOME/runs`, with `run.json`, logs and artifacts."""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hfpc.errors import ArgumentError
from hfpc.home import home

FILE_NAME = "run.json"

State = Literal["pending", "running", "succeeded", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One output artifact of a task.

    Attributes:
        name: Output name, e.g. "model".
        type: Its kfp schema title, e.g. "system.Model".
        path: Place relative to the run's folder; an absolute path or URI where it lies elsewhere.
        metadata: What the component logged: metrics, `confusionMatrix`, `confidenceMetrics`.
    """

    name: str
    type: str
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a run.

    Attributes:
        name: Task name, unique in the run; nested tasks as `train-and-evaluate/finetune`.
        display_name: What a person sees.
        component: Component name, e.g. "finetune".
        state: State.
        started: Seconds since the epoch, or None.
        ended: Seconds since the epoch, or None.
        needs: Names of the tasks it waits for.
        error: The component's own error, "" if none.
        log: Log file relative to the run's folder, "" before the start.
        parameters: Input parameters as the component got them.
        outputs: Output parameters.
        artifacts: Output artifacts.
    """

    name: str
    display_name: str
    component: str
    state: State = "pending"
    started: float | None = None
    ended: float | None = None
    needs: tuple[str, ...] = ()
    error: str = ""
    log: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One local run of a pipeline.

    Attributes:
        id: Name of its folder, e.g. "finetune_local-20261123-151201".
        pipeline: Pipeline name, e.g. "finetune_local".
        state: State.
        started: Seconds since the epoch.
        ended: Seconds since the epoch, or None.
        parameters: Pipeline parameters, defaults included.
        tasks: In topological order.
    """

    id: str
    pipeline: str
    state: State
    started: float
    ended: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its record, logs and artifacts are."""
        return folder(self.id)

    @property
    def metrics(self) -> dict[str, float]:
        """Every number that a `system.Metrics` artifact holds, as `task/metric`."""
        return {
            f"{task.component}/{name}": value
            for task in self.tasks
            for artifact in task.artifacts
            if artifact.type == "system.Metrics"
            for name, value in artifact.metadata.items()
            if isinstance(value, int | float)
        }


def folder(run_id: str) -> Path:
    """The folder of a run, whether it exists or not."""
    return home() / "runs" / run_id


def write(run: Run) -> None:
    """Writes `run.json`; a reader sees the old one or the new one, never a part."""
    run.folder.mkdir(parents=True, exist_ok=True)
    staging = run.folder / f".{FILE_NAME}"
    staging.write_text(json.dumps(dataclasses.asdict(run), indent=2) + "\n", encoding="utf-8")
    os.replace(staging, run.folder / FILE_NAME)


def read(run_id: str) -> Run:
    """The record of a run.

    Raises:
        ArgumentError: There is no such run.
    """
    try:
        content = json.loads((folder(run_id) / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArgumentError("run", run_id, "there is no such run; `hfpc runs` lists them") from None
    content["tasks"] = tuple(_task(task) for task in content["tasks"])
    return Run(**content)


def all_runs() -> list[Run]:
    """All runs of this machine, newest first."""
    found = [read(file.parent.name) for file in (home() / "runs").glob(f"*/{FILE_NAME}")]
    return sorted(found, key=lambda run: run.started, reverse=True)


def _task(content: dict[str, Any]) -> Task:
    artifacts = tuple(Artifact(**artifact) for artifact in content["artifacts"])
    return Task(**{**content, "needs": tuple(content["needs"]), "artifacts": artifacts})
