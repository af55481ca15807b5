"""What a run looks like on the screen."""

import io

import pytest
from rich.console import Console

from hfpc.console import predictions, run_view, text
from hfpc.progress import Progress
from hfpc.runs import Artifact, Run, Task

METRICS = Artifact(name="metrics", type="system.Metrics", path="m", metadata={"accuracy": 0.88213, "rows": 24123.0})


def task(name: str, state: str, **fields) -> Task:
    fields = {"started": 10.0, "ended": 17.0} | fields if state in ("succeeded", "failed") else fields
    return Task(name=name, display_name=fields.pop("shown", name), component="x", state=state, **fields)


def a_run(*tasks: Task, **fields) -> Run:
    return Run(id="p-1", pipeline="p", state="failed", started=0.0, ended=67.0, tasks=tasks, **fields)


def drawn(run: Run, progress=None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(run_view.picture(run, progress or {}))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_every_state_has_its_row():
    lines = drawn(
        a_run(
            task("load", "succeeded", artifacts=(METRICS,)),
            task("kept", "succeeded", cached=True),
            task("train", "failed", error="epochs=0: give a number above 0\nmore"),
            task("tune", "running", started=1.0),
            task("deploy", "pending"),
            task("test", "skipped"),
        ),
        {"tune": Progress(120, 240, "training", "loss 0.41")},
    )
    assert lines[0].split() == ["p", "p-1", "1:07"]
    assert lines[2].split() == ["✓", "load", "7.0s", "accuracy", "0.882", "·", "rows", "24,123"]
    assert lines[3].split() == ["✓", "kept", "from", "the", "cache"]
    assert lines[4].split() == "✗ train 7.0s epochs=0: give a number above 0".split()
    assert lines[5].split()[1] == "tune"
    assert lines[5].endswith("50% training loss 0.41")
    assert lines[6].split() == ["·", "deploy"]
    assert lines[7].split() == ["-", "test", "skipped"]


def test_nothing_is_wider_than_the_terminal():
    long = a_run(
        task("a" * 90, "failed", error="word " * 60),
        task("b", "running", started=1.0, shown="[red]not markup[/]"),
    )
    for width in (40, 80, 200):
        lines = drawn(long, {"b": Progress(1, None, "reading " * 20, "")}, width)
        assert max(map(len, lines)) <= width
        assert len(lines) == 5
    assert "[red]not markup[/]" in "\n".join(drawn(long, width=200))


def test_the_end_tells_errors_and_logs_once():
    console = Console(file=io.StringIO(), width=80)
    failed = task("nested/train", "failed", error="epochs=0: give a number above 0", log="logs/nested/train.log")
    run_view.print_end(console, a_run(failed, task("other", "succeeded")))
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "train: epochs=0: give a number above 0"
    assert lines[1].startswith("  log: ")
    assert lines[1].endswith("/p-1/logs/nested/train.log")
    assert lines[2] == "failed in 1:07"
    console = Console(file=io.StringIO(), width=80)
    run_view.print_end(console, a_run(task("train", "failed", error="interrupted"), error="interrupted"))
    assert console.file.getvalue().count("interrupted") == 1


def test_plain_lines_tell_each_change_once():
    console = Console(file=io.StringIO(), width=40)
    with run_view.PlainView(console) as view:
        for state in ("pending", "running", "running", "succeeded", "succeeded"):
            progress = {"load": Progress(1, 10, "reading", "")} if state == "running" else {}
            view(
                a_run(task("load", state, artifacts=(METRICS,) if state == "succeeded" else (), started=10.0)), progress
            )
    lines = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]
    assert lines == [
        "run p-1",
        "load: started",
        "load: reading 1/10",
        "load: succeeded in 7.0s: accuracy 0.882 · rows 24,123",
    ]


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0.04, "0.0s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1:00"), (187, "3:07"), (3722, "1:02:02")],
)
def test_durations(seconds, wanted):
    assert text.duration(seconds) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(24123, "24,123"), (0.88213, "0.882"), (5e-05, "5e-05"), (1234.56, "1,234.6"), (1.0, "1")]
)
def test_numbers(value, wanted):
    assert text.number(value) == wanted


def test_pairs_fit_or_are_left_out():
    values = {"validation/loss": 0.25, "decision": "promote", "rows": 1200}
    assert text.pairs(values, 80) == "loss 0.25 · decision promote · rows 1,200"
    assert text.pairs(values, 30) == "loss 0.25 · decision promote"
    assert text.pairs(values, 1) == "loss 0.25"


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        ([{"label": "negative", "score": 0.1}, {"label": "positive", "score": 0.9}], "positive 90.0%"),
        ([{"entity_group": "LOC", "score": 0.5, "word": "paris"}], "paris (LOC 50.0%)"),
        ([], "nothing found"),
        ({"generated_text": "é"}, "é"),
        ({"other": "é"}, '{"other": "é"}'),
    ],
)
def test_predictions(response, wanted):
    assert predictions.answer(response) == wanted
