"""A run on the screen: a live table on a terminal, and plain lines anywhere else."""

import time
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hfpc.console import text
from hfpc.progress import Progress
from hfpc.runs import Run, Task

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {"pending": "·", "succeeded": "✓", "failed": "✗", "skipped": "-"}
_STYLES = {"pending": "dim", "running": "cyan", "succeeded": "green", "failed": "bold red", "skipped": "dim"}
_BAR_WIDTH = 14
_RESULTS_WIDTH = 38  # beside the longest usual names in a terminal of 80 columns
_PLAIN_RESULTS_WIDTH = 80
_LONGEST_OUTPUT = 20
_PLAIN_INTERVAL = 30.0  # seconds between progress lines of a task where nobody sees a bar move


class LiveView:
    """Draws the run in place while it goes on; the last picture stays."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self.last: Run | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, run: Run, progress: dict[str, Progress]) -> None:
        """Draws the run as it is now."""
        self.last = run
        self._live.update(picture(run, progress), refresh=True)


class PlainView:
    """Prints a line for each change, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._next: dict[str, float] = {}
        self.last: Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass

    def __call__(self, run: Run, progress: dict[str, Progress]) -> None:
        """Prints what has changed since the last call."""
        self.last = run
        if not self._states:
            self._line(f"run {run.id}")
        for task in run.tasks:
            if self._states.get(task.name, "pending") != task.state:
                self._line(f"{task.name}: {_change(task)}")
            self._states[task.name] = task.state
        for name, step in progress.items():
            if time.monotonic() >= self._next.get(name, 0.0):
                self._next[name] = time.monotonic() + _PLAIN_INTERVAL
                self._line(f"{name}: {step.what} {step.done}/{step.total or '?'} {step.detail}".rstrip())

    def _line(self, message: str) -> None:
        self._console.print(f"{datetime.now():%H:%M:%S} {message}", markup=False, highlight=False, soft_wrap=True)


def view(console: Console) -> LiveView | PlainView:
    """The view that suits where the console writes to."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def picture(run: Run, progress: dict[str, Progress]) -> RenderableType:
    """The run as a table: a row for each task with its state, time, and progress or results."""
    title = Table.grid(expand=True)
    title.add_column(no_wrap=True, overflow="ellipsis")
    title.add_column(justify="right", no_wrap=True)
    title.add_row(f"[bold]{escape(run.pipeline)}[/]  [dim]{escape(run.id)}[/]", _spent(run))
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column(justify="right", no_wrap=True, min_width=5)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for task in run.tasks:
        style = _STYLES[task.state]
        spinner = _SPINNER[int(time.time() * 10) % len(_SPINNER)]
        dim = style if task.state in ("pending", "skipped") else ""
        spent = "" if task.cached else _spent(task)
        mark = Text(_MARKS.get(task.state, spinner), style=style)
        table.add_row(
            mark, Text(task.display_name, style=dim), Text(spent, "dim"), Padding(_detail(task, progress), (0, 0, 0, 1))
        )
    return Group(title, Padding(table, (1, 0, 0, 2)), "")


def print_end(console: Console, run: Run) -> None:
    """Prints how a run ended: its report, or each task's own error and where its log is."""
    for task in run.tasks:
        if task.state == "failed" and task.error not in ("", run.error):
            console.print(Text(f"{task.name.rpartition('/')[2]}: {task.error}", style="bold red"), soft_wrap=True)
            console.print(f"  log: {text.path(run.folder / task.log)}", markup=False, highlight=False, soft_wrap=True)
    if run.error:
        console.print(Text(run.error, style="bold red"), soft_wrap=True)
    for task in run.tasks:
        if task.outputs.get("kept") and task.outputs.get("reason"):
            console.print(Text(f"{task.display_name}: {task.outputs['kept']}", style="bold"))
            console.print(Text(f"  {task.outputs['reason']}"), soft_wrap=True)
        if task.outputs.get("reasons"):
            console.print(Text(f"{task.display_name}: {task.outputs.get('decision', '')}", style="bold"))
            for reason in str(task.outputs["reasons"]).splitlines():
                console.print(Text(f"  {reason}"), soft_wrap=True)
    state = "[green]succeeded[/]" if run.state == "succeeded" else "[bold red]failed[/]"
    console.print(f"{state} in {_spent(run)}" if _spent(run) else state, highlight=False)
    report = text.path(run.folder / "report.html")
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)


def results(task: Task) -> dict[str, Any]:
    """What a task found, in few words: short output parameters and metrics."""
    found = {
        name: value
        for name, value in task.outputs.items()
        if not isinstance(value, dict | list) and len(str(value)) <= _LONGEST_OUTPUT and "\n" not in str(value)
    }
    for artifact in task.artifacts:
        if artifact.type == "system.Metrics":
            found.update({name: value for name, value in artifact.metadata.items() if isinstance(value, int | float)})
    return found


def _detail(task: Task, progress: dict[str, Progress]) -> RenderableType:
    if task.state == "running" and task.name in progress:
        return _progress(progress[task.name])
    if task.state == "failed":
        return Text(task.error.partition("\n")[0], style="red")
    if task.state == "succeeded":
        found = text.pairs(results(task), _RESULTS_WIDTH)
        return Text(" · ".join(filter(None, ["from the cache" if task.cached else "", found])), style="dim")
    return Text("skipped" if task.state == "skipped" else "", style="dim")


def _progress(step: Progress) -> RenderableType:
    words = Text(f"{step.what} {step.detail}".strip(), style="dim")
    if not step.total:
        return Text.assemble(f"{step.done:,} ", words)
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=_BAR_WIDTH)
    row.add_column(justify="right", width=4)
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    row.add_row(ProgressBar(step.total, step.done, _BAR_WIDTH), f"{min(1.0, step.done / step.total):.0%}", words)
    return row


def _change(task: Task) -> str:
    if task.state == "running":
        return "started"
    if task.state == "skipped":
        return "skipped"
    spent = "from the cache" if task.cached else f"in {_spent(task)}"
    found = task.error if task.state == "failed" else text.pairs(results(task), _PLAIN_RESULTS_WIDTH)
    return f"{task.state} {spent}" + (f": {found}" if found else "")


def _spent(timed: Run | Task) -> str:
    """How long a run or task took, or has taken so far; "" where that is not known."""
    if timed.started is None or (timed.ended is None and timed.state != "running"):
        return ""
    return text.duration((timed.ended or time.time()) - timed.started)
