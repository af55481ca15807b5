"""The record of a local run, kept up to date from its events."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hfpc.runs import Artifact, Run, State, Task
from hfpc.submit import events
from hfpc.submit.graph import Step
from hfpc.submit.local_task import indexed, log_file


class Record:
    """Turns events into the state of a run.

    Args:
        run: The run with no tasks yet.
        steps: Steps of its pipeline.
    """

    def __init__(self, run: Run, steps: list[Step]) -> None:
        self._run = run
        self._error = ""
        self._tasks = {
            step.name: Task(
                name=step.name, display_name=step.display_name, component=step.function or "importer", needs=step.needs
            )
            for step in steps
        }
        self._turns: dict[str, dict[str, list[int]]] = {}  # task in a loop -> its turns and their indices

    @property
    def run(self) -> Run:
        """The run as it is now."""
        order = [turn for name in self._tasks if "[" not in name for turn in self._turns_of(name) or [name]]
        return replace(self._run, tasks=tuple(self._wired(self._tasks[name]) for name in order))

    def apply(self, event: events.Event) -> None:
        """Takes one event in."""
        if event["kind"] == "failed":
            self._error = event["message"]
            return
        name = self._waiting(event["task"]) if event["kind"] == "cached" else event["task"]
        iteration = event.get("iteration", [])
        if iteration:
            name = self._turn(name, iteration)
        self._tasks[name] = replace(self._tasks[name], **self._changes(event, self._tasks[name]))

    def finish(self, *, succeeded: bool, error: str = "") -> None:
        """Settles every task: what never started was skipped, what never ended was stopped.

        Args:
            succeeded: Whether the pipeline ended well.
            error: Why it did not, where that is no task's fault.
        """
        now = max([self._run.started, *(task.ended or task.started or 0.0 for task in self._tasks.values())])
        for name, task in self._tasks.items():
            if task.state == "running":
                stopped = task.error or error or "its process was killed"
                self._tasks[name] = replace(task, state="failed", ended=now, error=stopped)
            elif task.state == "pending":
                self._tasks[name] = replace(task, state="skipped")
        failed = any(task.state == "failed" for task in self._tasks.values())
        state: State = "succeeded" if succeeded else "failed"
        message = error or (
            "" if succeeded or failed else self._error or "kfp ended without saying why; see logs/kfp.log"
        )
        self._run = replace(self._run, state=state, ended=now, error=message)

    def _changes(self, event: events.Event, task: Task) -> dict[str, Any]:
        kind, time = event["kind"], event["time"]
        if kind == "started":
            folder = self._run.folder
            log = log_file(folder, event["task"], event["iteration"]).relative_to(folder)
            parameters = {key: value for key, value in sorted(event["parameters"].items()) if "--" not in key}
            started = {"state": "running", "started": time, "ended": None, "error": ""}
            return {**started, "log": str(log), "parameters": parameters}
        if kind == "error":
            return {"error": event["message"]}
        outputs = {
            "ended": time,
            "outputs": event.get("outputs", {}),
            "artifacts": tuple(self._artifact(output) for output in event.get("artifacts", [])),
        }
        if kind == "ended":
            return {**outputs, "state": "failed" if event["code"] else "succeeded"}
        return {**outputs, "state": "succeeded", "started": time, "cached": kind == "cached"}

    def _artifact(self, output: events.Output) -> Artifact:
        place = Path(output["uri"])
        inside = place.is_relative_to(self._run.folder)
        path = str(place.relative_to(self._run.folder)) if inside else output["uri"]
        return Artifact(name=output["name"], type=output["type"], path=path, metadata=output["metadata"])

    def _waiting(self, last_part: str) -> str:
        """The first task of this name that has not started."""
        names = [name for name in self._tasks if name.rpartition("/")[2] == last_part]
        return next((name for name in names if self._tasks[name].state == "pending"), names[-1])

    def _turn(self, template: str, iteration: list[int]) -> str:
        """Name of one turn of a task in loops, which is added when it is new."""
        name = indexed(template, iteration)
        if name not in self._tasks:
            task = self._tasks[template]
            display_name = indexed(task.display_name, iteration)
            self._tasks[name] = replace(task, name=name, display_name=display_name, state="pending")
            self._turns.setdefault(template, {})[name] = iteration
        return name

    def _turns_of(self, name: str) -> list[str]:
        turns = self._turns.get(name, {})
        return sorted(turns, key=lambda turn: turns[turn])

    def _wired(self, task: Task) -> Task:
        """The task with needs that name the turns: its own turn's where there is one, else all."""
        turn_of = task.name[len(task.name.partition("[")[0]) :]
        needs: list[str] = []
        for need in task.needs:
            turns = self._turns_of(need)
            own = [turn for turn in turns if turn_of and turn_of.startswith(turn.removeprefix(need))]
            needs += own or turns or [need]
        return replace(task, needs=tuple(needs))
