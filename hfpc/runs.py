"""Local runs: a folder for each under `$HFPC_HOME/runs`, with `run.json`, logs and artifacts."""

import dataclasses
import fcntl
import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hfpc import storage
from hfpc.errors import ArgumentError, DataError
from hfpc.home import home

FILE_NAME = "run.json"
_LOCK_NAME = ".lock"
_log = logging.getLogger(__name__)

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
        cached: Whether its outputs were taken from an earlier run.
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
    cached: bool = False
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
        error: Why it failed, where that is not the fault of a task; "" otherwise.
    """

    id: str
    pipeline: str
    state: State
    started: float
    ended: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    error: str = ""

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


def create(pipeline: str, started: float) -> str:
    """Makes the folder of a new run, named after the pipeline and the time, and returns its id."""
    name = f"{pipeline}-{datetime.fromtimestamp(started):%Y%m%d-%H%M%S}"
    for attempt in itertools.count(1):
        run_id = name if attempt == 1 else f"{name}-{attempt}"
        try:
            folder(run_id).mkdir(parents=True)
        except FileExistsError:
            continue
        return run_id
    raise AssertionError


@contextmanager
def locked(run_folder: Path) -> Iterator[None]:
    """Marks a run as being alive until the block ends or the process does, however it does."""
    with (run_folder / _LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(run: Run) -> None:
    """Writes `run.json`; a reader sees the old one or the new one, never a part."""
    storage.write_text(run.folder / FILE_NAME, json.dumps(dataclasses.asdict(run), indent=2) + "\n")


def read(run_id: str) -> Run:
    """The record of a run.

    Raises:
        ArgumentError: There is no such run.
        DataError: Its record was damaged, or is of another version of this library.
    """
    file = folder(run_id) / FILE_NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["tasks"] = tuple(_task(task) for task in content["tasks"])
        run = Run(**content)
    except FileNotFoundError:
        raise ArgumentError("run", run_id, "there is no such run; `hfpc runs` lists them") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({error}): remove its folder, or use the version that wrote it"
        ) from error
    return _abandoned(run) if run.state == "running" and not _is_locked(run.folder) else run


def all_runs() -> list[Run]:
    """All runs of this machine, newest first. One whose record is damaged is left out with a warning."""
    found = []
    for file in sorted((home() / "runs").glob(f"*/{FILE_NAME}")):
        try:
            found.append(read(file.parent.name))
        except DataError as error:
            _log.warning("a run is left out: %s", error)
    return sorted(found, key=lambda run: run.started, reverse=True)


def _is_locked(run_folder: Path) -> bool:
    try:
        with (run_folder / _LOCK_NAME).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _abandoned(run: Run) -> Run:
    """What became of a run whose process ended before it could say so."""
    states: dict[State, State] = {"running": "failed", "pending": "skipped"}
    tasks = tuple(replace(task, state=states.get(task.state, task.state)) for task in run.tasks)
    return replace(run, state="failed", tasks=tasks, error="the run was killed before it ended")


def _task(content: dict[str, Any]) -> Task:
    artifacts = tuple(Artifact(**artifact) for artifact in content["artifacts"])
    return Task(**{**content, "needs": tuple(content["needs"]), "artifacts": artifacts})
