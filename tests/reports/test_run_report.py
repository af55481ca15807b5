import dataclasses

import pytest

from hfpc import runs
from hfpc.reports.run_report import run_report, write_run_report
from hfpc.runs import Artifact, Run, Task
from tests.reports.samples import STARTED, run

pytestmark = pytest.mark.usefixtures("home")


def test_a_run_shows_what_it_found():
    page = run_report(run())
    for shown in ("succeeded", "2 min 45 s", "0.881", "0.861 to 0.901", "Decision: promote", "there is no champion"):
        assert shown in page, shown
    for shown in (
        "Confusion matrix",
        "180",
        "90.0 %",
        "Area under the curve: 0.850",
        "Loss. training: from",
        "1,158",
    ):
        assert shown in page, shown
    assert "How to use" in page and "all-MiniLM-L6-v2-tweets" in page and "base_model:" not in page
    assert "<script" not in page and "<img" not in page


def test_the_measured_area_is_shown_rather_than_that_of_the_logged_points():
    made = run()
    tasks = []
    for task in made.tasks:
        kept = [dataclasses.replace(one, metadata={**one.metadata, "roc_auc": 0.8642}) for one in task.artifacts]
        tasks.append(dataclasses.replace(task, artifacts=tuple(kept)))
    assert "Area under the curve: 0.864" in run_report(dataclasses.replace(made, tasks=tuple(tasks)))


def test_links_lead_to_files_that_are_there():
    made = run()
    report = write_run_report(made)
    page = report.read_text()
    assert report == made.folder / "report.html"
    assert 'href="./pages/train-and-evaluate-evaluate-report.html"' in page
    assert 'href="./artifacts/train-and-evaluate/finetune/model"' in page
    assert 'href="./logs/2.log"' in page
    assert "gs://bucket/predictions" in page and 'href="gs:' not in page
    assert "(not there)" in page
    copied = made.folder / "pages" / "train-and-evaluate-evaluate-report.html"
    assert copied.read_text() == (made.folder / "artifacts/train-and-evaluate/evaluate/report").read_text()


def test_a_failed_run_says_why():
    page = run_report(run("failed"))
    assert "What went wrong" in page and "give another" in page and "\x1b" not in page
    assert "Headline metrics" not in page
    killed = Run(id="killed", pipeline="p", state="failed", started=STARTED, error="it was <killed>")
    assert "it was &lt;killed&gt;" in run_report(killed)


def test_a_run_that_is_not_over_or_hardly_begun_has_a_report():
    assert "Decision" not in run_report(run("running"))
    assert "No task has been recorded yet." in run_report(Run(id="x", pipeline="p", state="running", started=STARTED))


def test_the_report_of_a_run_read_from_disk_is_the_same():
    made = run()
    runs.write(made)
    assert run_report(runs.read(made.id)) == run_report(made)


@pytest.mark.parametrize("content", ["", "[{", "{}", "null", '[{"epoch": 1}]'])
def test_a_broken_history_or_card_does_not_break_the_report(content):
    made = run()
    model = made.folder / "artifacts/train-and-evaluate/finetune/model"
    (model / "history.json").write_text(content)
    (model / "README.md").write_bytes(b"\xff\xfe")
    page = run_report(made)
    assert "Learning rate" not in page and "How to use" not in page


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"confusionMatrix": {}},
        {"confusionMatrix": {"annotationSpecs": [{}], "rows": []}},
        {"confidenceMetrics": []},
    ],
)
def test_metrics_logged_in_part_do_not_break_the_report(metadata):
    made = run()
    artifact = Artifact(name="m", type="system.ClassificationMetrics", path="", metadata=metadata)
    task = Task(name="t", display_name="T", component="evaluate", state="succeeded", artifacts=(artifact,))
    assert "Confusion matrix" not in run_report(dataclasses.replace(made, tasks=(task,)))


def test_training_metrics_stand_in_until_there_is_a_test():
    made = run()
    page = run_report(dataclasses.replace(made, tasks=made.tasks[:3]))
    assert "On the validation rows" in page and "0.885" in page
