"""`hfpc schedule` against a loopback Vertex AI."""

import dataclasses
import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from typer.testing import CliRunner

from hfpc.cli import app
from hfpc.errors import HfpcError
from hfpc.sinks.patience import Patience
from hfpc.submit import prepare
from hfpc.submit.cron import Timing
from hfpc.submit.schedule import Schedules
from hfpc.submit.vertex_submission import VertexSubmission
from tests.cloud.google_fixtures import LOCATION, PROJECT, PROJECT_NUMBER, SERVING_IMAGE

pytest.importorskip("google.cloud.aiplatform_v1")

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"
BOTH = pytest.mark.parametrize("google_cloud", ["grpc", "rest"], indirect=True)
WHERE = ["--project", PROJECT, "--location", LOCATION]
IMPATIENT = Patience(call=60.0, total=60.0, pause=0.01, retry=0.01, settle=0.05)


def schedule(*arguments):
    return CliRunner().invoke(app, ["schedule", *arguments, *WHERE], env={"COLUMNS": "200", "NO_COLOR": "1"})


def create(*arguments, cron="0 6 * * 1"):
    given = ["--cron", cron, "--pipeline-root", "gs://artifacts/runs", "--skip-preflight"]
    return schedule("create", PIPELINE, *given, *arguments)


def schedules(google_cloud):
    return [
        json_format.MessageToDict(each._pb)
        for name, each in google_cloud.vertex.objects.items()
        if "/schedules/" in name
    ]


@BOTH
def test_a_schedule_is_made_changed_paused_resumed_and_deleted(google_cloud):
    made = create("--name", "weekly", "--time-zone", "Europe/Paris", "--start", "2030-01-01T06:00", "--set", "rows=7")
    assert made.exit_code == 0, made.output
    [there] = schedules(google_cloud)
    number = there["name"].rpartition("/")[2]
    page = f"https://console.cloud.google.com/vertex-ai/locations/{LOCATION}/pipelines/schedules/{number}"
    assert (
        made.output == f"created: weekly, 0 6 * * 1, time zone Europe/Paris, active\n{page}?project={PROJECT_NUMBER}\n"
    )
    assert there["cron"] == "TZ=Europe/Paris 0 6 * * 1"
    assert there["startTime"] == "2030-01-01T05:00:00Z"
    request = there["createPipelineJobRequest"]
    assert request["parent"] == f"projects/{PROJECT}/locations/{LOCATION}" and "pipelineJobId" not in request
    job = request["pipelineJob"]
    assert job["runtimeConfig"]["parameterValues"]["rows"] == 7
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"].values()
    assert [task["cachingOptions"] for task in tasks] == [{}, {}]
    same = create("--name", "weekly", "--time-zone", "Europe/Paris", "--start", "2030-01-01T06:00", "--set", "rows=7")
    assert same.output.startswith("unchanged: weekly")
    later = ["--start", "2030-02-01"]
    changed = create("--name", "weekly", "--max-concurrent-runs", "2", "--cache", *later, cron="*/15 8-18 * * mon-fri")
    expected = "updated: weekly, */15 8-18 * * mon-fri, time zone UTC (the default), active\n"
    assert changed.output.startswith(expected)
    [there] = schedules(google_cloud)
    assert there["maxConcurrentRunCount"] == "2" and there["startTime"] == "2030-02-01T00:00:00Z"
    job = there["createPipelineJobRequest"]["pipelineJob"]
    assert job["pipelineSpec"]["root"]["dag"]["tasks"]["learn"]["cachingOptions"] == {"enableCache": True}
    assert schedule("pause", "weekly").output == "paused: weekly\n"
    [listed] = json.loads(schedule("list", "--json").output)
    assert (listed["display_name"], listed["state"]) == ("weekly", "PAUSED")
    assert schedule("resume", "weekly").output == "resumed: weekly\n"
    assert "weekly: TZ=UTC */15 8-18 * * mon-fri, active" in schedule("list").output
    assert schedule("delete", "weekly").output == "deleted: weekly\n"
    assert schedules(google_cloud) == []
    assert schedule("list").output == "no schedules\n"
    assert google_cloud.vertex.unknown_requests == []


def put(cron="0 6 * * 1", **patience):
    """Makes the schedule "weekly" what it is to be; what was done."""
    where = {"project": PROJECT, "location": LOCATION, "pipeline_root": "gs://artifacts/runs", "job_id": ""}
    submission = prepare.prepare(PIPELINE, {}, VertexSubmission(name="", spec={}, parameters={}, **where))
    return impatient(**patience).put("weekly", submission, Timing(cron=cron))[1]


def impatient(**patience):
    return Schedules(PROJECT, LOCATION, dataclasses.replace(IMPATIENT, **patience))


@BOTH
@pytest.mark.parametrize("kind", ["error", "timeout", "lost"])
def test_whichever_call_goes_wrong_there_is_one_schedule_and_then_none(google_cloud, kind):
    faults = google_cloud.vertex.faults
    for method in ("ListSchedules", "CreateSchedule"):
        faults.plan(0, kind, method=method)
    assert put() == "created"
    assert len(schedules(google_cloud)) == 1
    faults.plan(0, kind, method="UpdateSchedule")
    assert put("0 7 * * 1") == "updated"
    for method in ("PauseSchedule", "ResumeSchedule", "DeleteSchedule"):
        faults.plan(0, kind, method=method)
    # As after a call that was lost with its process: what is done already is done, and not refused.
    for _ in range(2):
        impatient().pause("weekly")
        assert [each["state"] for each in schedules(google_cloud)] == ["PAUSED"]
    for _ in range(2):
        impatient().resume("weekly")
        assert [each["state"] for each in schedules(google_cloud)] == ["ACTIVE"]
    impatient().delete("weekly")
    assert schedules(google_cloud) == []
    assert all(faults.calls.count(f"{method}Schedule") == 2 for method in ("Update", "Pause", "Resume", "Delete"))


@pytest.mark.parametrize("lag", [1, 3])
def test_a_list_that_shows_late_what_a_lost_call_made_makes_no_second(google_cloud, lag):
    google_cloud.vertex.lag = lag
    google_cloud.vertex.faults.plan(0, "lost", method="CreateSchedule")
    assert put(settle=10.0) == "created"
    assert len(schedules(google_cloud)) == 1
    assert google_cloud.vertex.faults.calls.count("CreateSchedule") == 1


@BOTH
@pytest.mark.parametrize("method", ["ListSchedules", "CreateSchedule", "PauseSchedule", "GetSchedule"])
def test_a_call_that_nothing_answers_is_given_up_and_made_again(google_cloud, method):
    faults = google_cloud.vertex.faults
    faults.plan(0, "silent", method=method)
    assert put(call=3.0) == "created"
    impatient(call=3.0).pause("weekly")
    assert [each["state"] for each in schedules(google_cloud)] == ["PAUSED"]
    assert faults.injected and faults.calls.count(method) >= 2


@BOTH
def test_what_has_ended_is_not_resumed(google_cloud):
    put()
    [there] = [each for name, each in google_cloud.vertex.objects.items() if "/schedules/" in name]
    there.state = "COMPLETED"
    done = schedule("resume", "weekly")
    assert done.exit_code == 1
    assert done.output == "schedule='weekly': it has ended: delete it, and create it with another end\n"


def test_a_deletion_that_does_not_end_is_one_readable_line(google_cloud):
    put()
    google_cloud.vertex.polls = 10**6
    with pytest.raises(HfpcError, match=r"^deleting schedule weekly: .* was not done after 0.5 seconds$"):
        impatient(total=0.5).delete("weekly")


@BOTH
def test_the_newest_schedule_is_listed_first(google_cloud):
    for name in ("first", "second"):
        assert create("--name", name).exit_code == 0
    assert [line.partition(":")[0] for line in schedule("list").output.splitlines()] == ["second", "first"]


def test_continuous_training_runs_on_the_machines_of_a_profile(google_cloud):
    given = ["--cron", "0 6 * * 1", "--pipeline-root", "gs://artifacts/runs", "--skip-preflight", "--profile", "gpu-l4"]
    image = f"image={SERVING_IMAGE}"
    made = schedule("create", "retrain_vertex", "--name", "weekly", "--set", image, *given)
    assert made.exit_code == 0, made.output
    [there] = schedules(google_cloud)
    job = there["createPipelineJobRequest"]["pipelineJob"]
    container = job["pipelineSpec"]["deploymentSpec"]["executors"]["exec-finetune"]["container"]
    accelerator = container["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("NVIDIA_L4", "1")
    assert "hfpc-python-gpu:" in container["image"]
    where = {name: job["runtimeConfig"]["parameterValues"][name] for name in ("project", "location")}
    assert where == {"project": PROJECT, "location": LOCATION}


@pytest.mark.parametrize("which", ["start", "end"])
def test_what_vertex_ai_cannot_take_away_is_told_before_it_is_asked(google_cloud, which):
    assert create("--name", "weekly", f"--{which}", "2031-01-01").exit_code == 0
    done = create("--name", "weekly", cron="0 7 * * 1")
    assert done.exit_code == 1
    assert done.output == f"{which}='': a{'n' * (which == 'end')} {which} cannot be taken away: give another, or " + (
        "delete the schedule first\n"
    )
    assert create("--name", "weekly", f"--{which}", "2032-01-01", cron="0 7 * * 1").output.startswith("updated: weekly")
    [there] = schedules(google_cloud)
    assert there[f"{which}Time"] == "2032-01-01T00:00:00Z"


def test_the_time_zone_may_stand_in_the_cron(google_cloud):
    made = create("--name", "weekly", cron="TZ=Europe/Paris 0 6 * * 1")
    assert made.output.startswith("created: weekly, 0 6 * * 1, time zone Europe/Paris, active")
    assert schedules(google_cloud)[0]["cron"] == "TZ=Europe/Paris 0 6 * * 1"
    same = create("--name", "weekly", "--time-zone", "Europe/Paris")
    assert same.output.startswith("unchanged: weekly")


def test_what_has_ended_is_not_changed(google_cloud):
    assert create("--name", "weekly").exit_code == 0
    [there] = [each for name, each in google_cloud.vertex.objects.items() if "/schedules/" in name]
    there.state = "COMPLETED"
    done = create("--name", "weekly", cron="0 7 * * 1")
    assert done.exit_code == 1 and "schedule='weekly': it has ended: delete it first" in done.output


def test_a_name_that_is_not_there_is_told_with_those_that_are(google_cloud):
    create("--name", "weekly")
    done = schedule("pause", "daily")
    assert done.exit_code == 1
    assert done.output == "schedule='daily': there is no such schedule; there are weekly\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--time-zone", "Mars/Olympus"], "time_zone='Mars/Olympus': give an IANA time zone"),
        (["--cron", "0 6 * *"], "cron='0 6 * *': give minute, hour"),
        (["--cron", "0 25 * * *"], "its hour '25' is wrong: give 0 to 23"),
        (["--cron", "0 6 * * moonday"], "its day of the week 'moonday' is wrong"),
        (["--cron", "9-3 6 * * *"], "its minute '9-3' is wrong"),
        (["--cron", "TZ=Asia/Tokyo 0 6 * * *", "--time-zone", "UTC"], "time_zone='UTC': cron names Asia/Tokyo"),
        (["--start", "tomorrow"], "start='tomorrow': give an ISO 8601 time"),
        (["--start", "2030-01-02", "--end", "2030-01-01"], "end='2030-01-01': give a time after"),
        (["--max-concurrent-runs", "0"], "max_concurrent_runs=0: give at least 1"),
        (["--profile", "gpu-l5"], "profile='gpu-l5': give one of cpu, gpu-t4"),
        (["--name", 'a"b'], "give 1 to 128 characters without quotes"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(google_cloud, arguments, told):
    done = create(*arguments)
    assert done.exit_code == 1
    assert told in done.output
    assert google_cloud.vertex.faults.calls == []
