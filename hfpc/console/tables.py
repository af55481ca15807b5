"""Lists and descriptions as tables."""

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hfpc.console import catalog, run_view, signature, text
from hfpc.registry import Version
from hfpc.runs import Run

_RESULTS_WIDTH = 36  # what is left of 80 columns beside a run's name, state and time


def print_catalog(console: Console) -> None:
    """Every component and pipeline with its first line."""
    for kind in catalog.KINDS:
        table = _table("name", "what it does")
        for name in catalog.names(kind):
            table.add_row(f"[cyan]{name}[/]", escape(catalog.description(kind, name).partition("\n")[0]))
        console.print(f"\n[bold]{kind.capitalize()}[/]", table)


def print_description(console: Console, name: str) -> None:
    """What a component or pipeline does, its inputs and its outputs."""
    spec = catalog.spec(name)
    console.print(f"[bold]{name}[/]", highlight=False)
    for paragraph in catalog.description(catalog.kind_of(name), name).split("\n\n"):
        console.print(" ".join(paragraph.split()), markup=False, highlight=False)
    table = _table("input", "type", "default", "what it is")
    for item, kind, default, what in signature.inputs(spec):
        shown = "[yellow]required[/]" if default == signature.REQUIRED else escape(default)
        table.add_row(f"[cyan]{item}[/]", kind, shown, escape(what))
    console.print("", table)
    rows = signature.outputs(spec)
    if rows:
        table = _table("output", "type", "what it is")
        for item, kind, what in rows:
            table.add_row(f"[cyan]{item}[/]", kind, escape(what))
        console.print("", table)


def print_runs(console: Console, runs: list[Run]) -> None:
    """Past runs, newest first, with their state, duration and what the evaluation found."""
    table = _table("run", "state", "time", "results")
    for run in runs:
        colour = {"succeeded": "green", "failed": "red"}.get(run.state, "cyan")
        spent = text.duration(run.ended - run.started) if run.ended else ""
        table.add_row(run.id, f"[{colour}]{run.state}[/]", spent, escape(text.pairs(main_results(run), _RESULTS_WIDTH)))
    console.print(table)


def main_results(run: Run) -> dict[str, Any]:
    """What the run's evaluation found; without one, what its last task with results did."""
    found = [(task.component, run_view.results(task)) for task in run.tasks]
    with_results = [results for _, results in found if results]
    evaluated = [results for component, results in found if component == "evaluate" and results]
    return (evaluated or with_results or [{}])[-1]


def print_run(console: Console, run: Run) -> None:
    """One run: its tasks, parameters, metrics, and where its files are."""
    started = datetime.fromtimestamp(run.started)
    console.print(run_view.picture(run, {}))
    table = _table("parameter", "value")
    for name, value in sorted(run.parameters.items()):
        table.add_row(f"[cyan]{name}[/]", escape(str(value)))
    console.print(table)
    table = _table("task", "result", "value")
    for task in run.tasks:
        for name, value in run_view.results(task).items():
            table.add_row(task.name, name, text.number(value) if isinstance(value, int | float) else escape(str(value)))
    console.print("", table)
    console.print(f"\nstarted: {started:%Y-%m-%d %H:%M:%S}\nfolder: {text.path(run.folder)}", highlight=False)
    run_view.print_end(console, run)


def print_models(console: Console, versions: list[Version]) -> None:
    """Registered models with their aliases and metrics."""
    table = _table("model", "version", "aliases", "metrics")
    for version in versions:
        metrics = version.manifest.model.metrics if version.manifest.model else {}
        table.add_row(version.name, version.version, ", ".join(version.aliases), text.pairs(metrics, _RESULTS_WIDTH))
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "run", "model", "state"))
    return table
