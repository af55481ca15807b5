"""What the processes of a local run tell the one that shows it: lines of JSON in one file.

A line is written by a single `write` to a file opened for appending, so tasks that run side by
side do not mix their lines.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, TypedDict

FOLDER_NAME = ".kfp"
FILE_NAME = "events.jsonl"


class Output(TypedDict):
    """One output artifact of a task: output name, kfp schema title, place, and metadata."""

    name: str
    type: str
    uri: str
    metadata: dict[str, Any]


class Event(TypedDict, total=False):
    """One line.

    Attributes:
        kind: "started", "error" and "ended" of a task; "cached" and "imported" of a task that
            needed no process; "failed" of the whole run.
        task: Name of the task; of its last part only where `kind` is "cached".
        iteration: Index in each loop around it, the outermost first.
        time: Seconds since the epoch.
        message: What went wrong.
        code: Exit status of a task's process; negative for the signal that killed it.
        parameters: Input parameters, without secrets.
        outputs: Output parameters, without secrets.
        artifacts: Output artifacts.
    """

    kind: str
    task: str
    iteration: list[int]
    time: float
    message: str
    code: int
    parameters: dict[str, Any]
    outputs: dict[str, Any]
    artifacts: list[Output]


def append(run_folder: Path, event: Event) -> None:
    """Adds an event to a run, with the time."""
    line = json.dumps({**event, "time": time.time()}) + "\n"
    file = os.open(run_folder / FOLDER_NAME / FILE_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Reader:
    """Reads the events of a run as they come."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / FOLDER_NAME / FILE_NAME
        self._offset = 0

    def new(self) -> list[Event]:
        """The events since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, _, _rest = file.read().rpartition(b"\n")
        self._offset += len(whole) + bool(whole)
        return [json.loads(line) for line in whole.splitlines()]
