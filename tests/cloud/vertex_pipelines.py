"""Pipeline runs and schedules of the loopback Vertex AI. It keeps what it is sent; a test executes it."""

import re
from dataclasses import dataclass
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format
from google.rpc import status_pb2

from tests.cloud.vertex_metadata import Metadata
from tests.cloud.vertex_resources import check_names, check_parent, delete_metadata, now, page
from tests.cloud.vertex_wire import VertexError

STATES = ["PENDING", "RUNNING", "SUCCEEDED"]
_JOB_ID = re.compile("[a-z][-a-z0-9]{0,127}")


@dataclass
class Outcome:
    """How runs end that are made from now on.

    Attributes:
        failing_task: Name of the task that fails; "" lets every task succeed.
        error: What it says.
    """

    failing_task: str = ""
    error: str = ""


class Pipelines(Metadata):
    """PipelineService and ScheduleService. A run goes on by one state each time it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome = Outcome()

    def reset(self) -> None:
        super().reset()
        self.outcome = Outcome()

    def CreatePipelineJob(self, request: v1.CreatePipelineJobRequest) -> v1.PipelineJob:
        check_parent(request.parent)
        if not _JOB_ID.fullmatch(request.pipeline_job_id):
            raise VertexError("INVALID_ARGUMENT", f"Invalid pipeline_job_id {request.pipeline_job_id!r}")
        job = v1.PipelineJob(request.pipeline_job)
        job.name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        if job.name in self.objects:
            raise VertexError("ALREADY_EXISTS", f"PipelineJob {job.name} already exists.")
        _check_job(job)
        job.create_time, job.state = now(), v1.PipelineState.PIPELINE_STATE_PENDING
        return self.add(job)

    def GetPipelineJob(self, request: v1.GetPipelineJobRequest) -> v1.PipelineJob:
        job = self.get(request.name, "PipelineJob")
        state = job.state.name.removeprefix("PIPELINE_STATE_")
        if state in STATES[:-1]:
            self._go_on(job, STATES[STATES.index(state) + 1])
        return job

    def ListPipelineJobs(self, request: v1.ListPipelineJobsRequest) -> v1.ListPipelineJobsResponse:
        jobs, token = page(self.listed(f"{request.parent}/pipelineJobs/", request.filter), request)
        return v1.ListPipelineJobsResponse(pipeline_jobs=jobs, next_page_token=token)

    def CancelPipelineJob(self, request: v1.CancelPipelineJobRequest) -> empty_pb2.Empty:
        job = self.get(request.name, "PipelineJob")
        if job.state.name.removeprefix("PIPELINE_STATE_") in STATES[:-1]:  # else it has ended
            job.state = v1.PipelineState.PIPELINE_STATE_CANCELLED
        return empty_pb2.Empty()

    def DeletePipelineJob(self, request: v1.DeletePipelineJobRequest) -> operations_pb2.Operation:
        self.get(request.name, "PipelineJob")
        del self.objects[request.name]
        return self.operation(request.name.rpartition("/pipelineJobs/")[0], delete_metadata(), empty_pb2.Empty)

    def CreateSchedule(self, request: v1.CreateScheduleRequest) -> v1.Schedule:
        check_parent(request.parent)
        schedule = v1.Schedule(request.schedule)
        check_names(schedule.display_name, [])
        _check_cron(schedule.cron)
        if schedule.max_concurrent_run_count < 1:
            raise VertexError("INVALID_ARGUMENT", "max_concurrent_run_count must be at least 1.")
        _check_job(schedule.create_pipeline_job_request.pipeline_job)
        schedule.name = f"{request.parent}/schedules/{self.new_number()}"
        schedule.state, schedule.create_time = v1.Schedule.State.ACTIVE, now()
        schedule.start_time = schedule.start_time or schedule.create_time
        return self.add(schedule)

    def GetSchedule(self, request: v1.GetScheduleRequest) -> v1.Schedule:
        return self.get(request.name, "Schedule")

    def ListSchedules(self, request: v1.ListSchedulesRequest) -> v1.ListSchedulesResponse:
        found = self.listed(f"{request.parent}/schedules/", request.filter)
        if request.order_by not in ("", "create_time desc"):
            raise VertexError("INVALID_ARGUMENT", f"this test Vertex AI does not know the order {request.order_by}")
        # Without one the service promises none: the oldest first would be taken for the newest.
        schedules, token = page(found if request.order_by else found[::-1], request)
        return v1.ListSchedulesResponse(schedules=schedules, next_page_token=token)

    def UpdateSchedule(self, request: v1.UpdateScheduleRequest) -> v1.Schedule:
        schedule = self.get(request.schedule.name, "Schedule")
        for field in request.update_mask.paths:
            if field not in ("cron", "start_time", "end_time", "max_run_count", "max_concurrent_run_count") and (
                field not in ("allow_queueing", "create_pipeline_job_request")
            ):
                raise VertexError("INVALID_ARGUMENT", f"{field} cannot be updated.")
            if getattr(schedule, field) and not getattr(request.schedule, field):
                raise VertexError("INVALID_ARGUMENT", f"{field} cannot be unset.")
            setattr(schedule, field, getattr(request.schedule, field))
        _check_cron(schedule.cron)
        return schedule

    def PauseSchedule(self, request: v1.PauseScheduleRequest) -> empty_pb2.Empty:
        self._turn(request.name, v1.Schedule.State.ACTIVE, v1.Schedule.State.PAUSED)
        return empty_pb2.Empty()

    def ResumeSchedule(self, request: v1.ResumeScheduleRequest) -> empty_pb2.Empty:
        self._turn(request.name, v1.Schedule.State.PAUSED, v1.Schedule.State.ACTIVE)
        return empty_pb2.Empty()

    def DeleteSchedule(self, request: v1.DeleteScheduleRequest) -> operations_pb2.Operation:
        self.get(request.name, "Schedule")
        del self.objects[request.name]
        return self.operation(request.name.rpartition("/schedules/")[0], delete_metadata(), empty_pb2.Empty)

    def _turn(self, name: str, before: v1.Schedule.State, after: v1.Schedule.State) -> None:
        schedule = self.get(name, "Schedule")
        if schedule.state != before:
            raise VertexError("FAILED_PRECONDITION", f"Schedule {name} is {schedule.state.name}, not {before.name}.")
        schedule.state = after

    def _go_on(self, job: v1.PipelineJob, state: str) -> None:
        """To the next state, with every task of the root in the state of its run."""
        tasks = json_format.MessageToDict(job._pb.pipeline_spec)["root"]["dag"]["tasks"]
        failing = self.outcome.failing_task if state == STATES[-1] else ""
        states = dict.fromkeys(tasks, state)
        if failing in tasks:
            states |= dict.fromkeys(_after(tasks, failing), "NOT_TRIGGERED") | {failing: "FAILED"}
            job.error = status_pb2.Status(code=9, message=f"The DAG failed because some tasks failed: [{failing}]")
        details = [
            v1.PipelineTaskDetail(task_id=number, task_name=name, state=each)
            for number, (name, each) in enumerate(states.items(), 1)
        ]
        for detail in details:
            if detail.task_name == failing:
                detail.error = status_pb2.Status(code=9, message=self.outcome.error)
        job.job_detail = v1.PipelineJobDetail(task_details=details, pipeline_run_context=self._record(job))
        job.state = f"PIPELINE_STATE_{'FAILED' if failing in tasks else state}"

    def _record(self, job: v1.PipelineJob) -> v1.Context:
        """The context of a run, which is made when it starts."""
        parent, _, job_id = job.name.partition("/pipelineJobs/")
        name = f"{parent}/metadataStores/default/contexts/{job_id}"
        if name not in self.objects:
            self.add(v1.Context(name=name, display_name=job_id, schema_title="system.PipelineRun"))
        return self.objects[name]


def _after(tasks: dict[str, Any], name: str) -> set[str]:
    """The tasks that wait for a task, or for one of those."""
    found = {each for each, task in tasks.items() if name in task.get("dependentTasks", [])}
    return found.union(*(_after(tasks, each) for each in found))


def _check_job(job: Any) -> None:
    if job.display_name:
        check_names(job.display_name, job.labels.items())
    if not job.runtime_config.gcs_output_directory.startswith("gs://"):
        raise VertexError("INVALID_ARGUMENT", "runtime_config.gcs_output_directory must be gs://")
    spec = json_format.MessageToDict(job._pb.pipeline_spec)
    if not job.template_uri and not spec.get("root", {}).get("dag"):
        raise VertexError("INVALID_ARGUMENT", "pipeline_spec has no root with tasks")
    inputs = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    given = set(json_format.MessageToDict(job._pb.runtime_config).get("parameterValues", {}))
    if not job.template_uri and (unknown := given - set(inputs)):
        raise VertexError("INVALID_ARGUMENT", f"The pipeline has no parameters {sorted(unknown)}")
    needed = {name for name, each in inputs.items() if not each.get("isOptional") and "defaultValue" not in each}
    if not job.template_uri and (missing := needed - given):
        raise VertexError("INVALID_ARGUMENT", f"Parameters without a value: {sorted(missing)}")


def _check_cron(cron: str) -> None:
    """`TZ=Europe/Paris 0 6 * * 1` or without the time zone; not the values of the fields."""
    fields = cron.split()
    if len(fields[1:] if cron.startswith(("TZ=", "CRON_TZ=")) else fields) != 5:
        raise VertexError("INVALID_ARGUMENT", f"Invalid cron {cron!r}")
