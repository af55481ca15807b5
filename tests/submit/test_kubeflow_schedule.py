"""`hfpc schedule --to kubeflow` against a loopback Kubeflow Pipelines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.submit.cron import Timing
from hfpc.submit.kubeflow_schedule import kubeflow_cron
from tests.cloud.faults import KINDS
from tests.cloud.kubeflow_runs import check_cron

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"


def schedule(*arguments):
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["schedule", *arguments, "--to", "kubeflow"], env=environment)


def create(*arguments, cron="0 6 * * 1"):
    given = ["--name", "weekly", "--cron", cron, "--skip-preflight"]
    return schedule("create", PIPELINE, *given, *arguments)


def only(kubeflow):
    [there] = kubeflow.recurring_runs.values()
    return there


def test_a_schedule_is_made_changed_paused_resumed_and_deleted(kubeflow):
    made = create("--start", "2030-01-01T06:00", "--set", "rows=7", "--experiment", "nightly")
    assert made.exit_code == 0, made.output
    there = only(kubeflow)
    assert made.output.splitlines() == [
        "created: weekly, 0 0 6 * * 1, time zone UTC unless the cluster has another, active",
        f"{kubeflow.url}/#/recurringrun/details/{there['recurring_run_id']}",
    ]
    assert there["trigger"]["cron_schedule"] == {"cron": "0 0 6 * * 1", "start_time": "2030-01-01T06:00:00+00:00"}
    assert (there["max_concurrency"], there["no_catchup"]) == ("1", True)
    assert there["runtime_config"]["parameters"]["rows"] == 7
    assert kubeflow.experiments[there["experiment_id"]]["display_name"] == "nightly"
    tasks = kubeflow.version_of(there)["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert [task["cachingOptions"] for task in tasks.values()] == [{}, {}]
    same = create("--start", "2030-01-01T06:00", "--set", "rows=7", "--experiment", "nightly")
    assert same.output.startswith("unchanged: weekly")
    assert only(kubeflow)["recurring_run_id"] == there["recurring_run_id"] and len(kubeflow.versions) == 1

    changed = create("--max-concurrent-runs", "2", "--cache", cron="*/15 8-18 * * mon-fri")
    assert changed.output.startswith("updated: weekly, 0 */15 8-18 * * mon-fri,"), changed.output
    there = only(kubeflow)
    assert (there["max_concurrency"], there["status"]) == ("2", "ENABLED")
    assert schedule("pause", "weekly").output == "paused: weekly\n"
    [listed] = json.loads(schedule("list", "--json").output)
    assert (listed["display_name"], listed["state"]) == ("weekly", "PAUSED")
    still = create(cron="0 7 * * 1")
    assert still.output.startswith("updated: weekly, 0 0 7 * * 1,") and only(kubeflow)["status"] == "DISABLED"
    assert schedule("resume", "weekly").output == "resumed: weekly\n"
    assert schedule("list").output == "weekly: 0 0 7 * * 1, active\n"
    assert schedule("delete", "weekly").output == "deleted: weekly\n"
    assert kubeflow.recurring_runs == {}
    assert schedule("list").output == "no schedules\n"


@pytest.mark.slow
def test_whichever_call_goes_wrong_there_is_one_schedule_and_then_none(kubeflow, capsys):
    """Every call of a creation, a change, a pause, a resumption and a deletion goes wrong once in every way."""
    commands = {
        "created": lambda: create(),
        "updated": lambda: create(cron="0 7 * * 1"),
        "paused": lambda: schedule("pause", "weekly"),
        "resumed": lambda: schedule("resume", "weekly"),
        "deleted": lambda: schedule("delete", "weekly"),
    }
    before = kubeflow.faults.injected
    for number, (word, command) in enumerate(commands.items()):
        kubeflow.reset()
        for earlier in list(commands.values())[:number]:
            assert earlier().exit_code == 0
        kubeflow.faults.clear()
        start = snapshot(kubeflow)
        assert command().exit_code == 0
        calls = list(kubeflow.faults.calls)
        for index, method in enumerate(calls):
            for kind in KINDS:
                restore(kubeflow, start)
                kubeflow.faults.clear()
                kubeflow.faults.plan(index, kind)
                done = command()
                assert done.exit_code == 0, (word, method, kind, done.output)
                assert done.output.startswith(f"{word}: weekly"), (word, method, kind, done.output)
                states = [each["status"] for each in kubeflow.recurring_runs.values()]
                expected = {"paused": ["DISABLED"], "deleted": []}.get(word, ["ENABLED"])
                assert states == expected, (word, method, kind)
    injected = kubeflow.faults.injected - before
    assert injected > 50
    with capsys.disabled():
        print(f"\nschedules of Kubeflow: {injected} faults, never two schedules")


def snapshot(kubeflow):
    kinds = (kubeflow.experiments, kubeflow.pipelines, kubeflow.versions, kubeflow.recurring_runs)
    return json.loads(json.dumps(kinds))


def restore(kubeflow, kept):
    kept = json.loads(json.dumps(kept))
    kubeflow.experiments, kubeflow.pipelines, kubeflow.versions, kubeflow.recurring_runs = kept


def test_a_new_one_that_is_refused_leaves_the_old_one(kubeflow):
    assert create().exit_code == 0
    old = dict(only(kubeflow))
    kubeflow.faults.plan(0, "error", times=99, method="CreateRecurringRun")
    assert create(cron="0 7 * * 1").exit_code == 1
    assert only(kubeflow) == old


def test_an_interrupted_change_is_finished_by_the_same_again(kubeflow):
    assert create().exit_code == 0
    kubeflow.faults.plan(0, "error", times=99, method="DeleteRecurringRun")
    broken = create(cron="0 7 * * 1")
    assert broken.exit_code == 1 and "replacing schedule weekly: Kubeflow says 503" in broken.output
    assert [each["status"] for each in kubeflow.recurring_runs.values()] == ["DISABLED", "ENABLED"]  # the new one
    assert "create it again if a change was interrupted" in schedule("pause", "weekly").output
    kubeflow.faults.clear()
    assert create(cron="0 7 * * 1").output.startswith("updated: weekly, 0 0 7 * * 1,")
    assert only(kubeflow)["status"] == "ENABLED"
    kubeflow.faults.plan(0, "error", times=99, method="EnableRecurringRun")
    paused = create(cron="0 8 * * 1")
    assert paused.exit_code == 1 and "no run starts until the schedule is created again" in paused.output
    assert [each["status"] for each in kubeflow.recurring_runs.values()] == ["DISABLED", "DISABLED"]
    kubeflow.faults.clear()
    assert create(cron="0 8 * * 1").output.startswith("updated: weekly, 0 0 8 * * 1,")
    assert only(kubeflow)["status"] == "ENABLED"
    assert schedule("pause", "weekly").exit_code == 0
    assert create(cron="0 8 * * 1").output.startswith("unchanged: weekly") and only(kubeflow)["status"] == "DISABLED"


@pytest.mark.slow
@pytest.mark.parametrize("paused", [False, True])
def test_wherever_a_change_is_broken_off_the_same_again_finishes_it(kubeflow, paused):
    assert create().exit_code == 0
    assert not paused or schedule("pause", "weekly").exit_code == 0
    start = snapshot(kubeflow)
    kubeflow.faults.clear()
    assert create(cron="0 7 * * 1").exit_code == 0
    expected, calls = ("DISABLED" if paused else "ENABLED"), len(kubeflow.faults.calls)
    for index in range(calls):
        restore(kubeflow, start)
        kubeflow.faults.clear()
        kubeflow.faults.plan(index, "error", times=99)
        assert create(cron="0 7 * * 1").exit_code == 1, index
        assert [each["status"] for each in kubeflow.recurring_runs.values()].count("ENABLED") <= 1, index
        kubeflow.faults.clear()
        assert create(cron="0 7 * * 1").exit_code == 0, index
        there = only(kubeflow)
        assert (there["status"], there["trigger"]["cron_schedule"]["cron"]) == (expected, "0 0 7 * * 1"), index


def test_a_name_that_is_not_there_is_told_with_those_that_are(kubeflow):
    create()
    done = schedule("pause", "daily")
    assert done.exit_code == 1
    assert done.output == "schedule='daily': there is no such schedule; there are weekly\n"


def test_schedules_of_a_namespace(kubeflow):
    kubeflow.multi_user = True
    assert create("--namespace", "team").exit_code == 0
    assert schedule("list", "--namespace", "team").output == "weekly: 0 0 6 * * 1, active\n"
    assert "give yours" in schedule("list").output


@pytest.mark.parametrize(
    ("cron", "kubeflow_s"),
    [
        ("0 6 * * 7", "0 0 6 * * 0"),
        ("0 6 * * 5-7", "0 0 6 * * 0,5,6"),
        ("0 6 * * 1-7/3", "0 0 6 * * 0,1,4"),
        ("0 6 * * sat,7", "0 0 6 * * 0,6"),
        ("0 6 1,15 * *", "0 0 6 1,15 * *"),
        ("TZ=Etc/UTC 0 6 * * sun", "0 0 6 * * sun"),
        ("TZ=Africa/Abidjan 0 6 * * *", "0 0 6 * * *"),
    ],
)
def test_what_a_cron_means_stays(cron, kubeflow_s):
    assert kubeflow_cron(Timing(cron=cron)) == kubeflow_s
    check_cron(kubeflow_s)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--time-zone", "Europe/Paris"], "time_zone='Europe/Paris': Kubeflow's crons have no time zone"),
        (["--time-zone", "Europe/London"], "give the cron in UTC"),
        (["--cron", "TZ=Asia/Tokyo 0 6 * * *"], "time_zone='Asia/Tokyo'"),
        (["--max-concurrent-runs", "11"], "max_concurrent_runs=11: Kubeflow takes at most 10"),
        (["--cron", "0 25 * * *"], "its hour '25' is wrong"),
        (["--name", 'a"b'], "give 1 to 128 characters without quotes"),
        (["--location", "us-central1"], "it is for Vertex AI"),
        (["--set", "rows=many"], "rows='many'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_changes(kubeflow, arguments, told):
    done = create(*arguments)
    assert done.exit_code == 1
    assert told in done.output
    assert set(kubeflow.faults.calls) <= {"Healthz"}
