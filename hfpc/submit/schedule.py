"""Schedules of Vertex AI Pipelines, known by their display names: runs of a pipeline again and again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from hfpc import google_cloud
from hfpc.errors import ArgumentError, EndpointError, HfpcError
from hfpc.sinks.patience import Patience
from hfpc.sinks.vertex_calls import Place
from hfpc.submit.cron import Timing
from hfpc.submit.vertex import FINGERPRINT_LABEL, pipeline_job
from hfpc.submit.vertex_submission import VertexSubmission

Change = Literal["created", "updated", "unchanged"]

PATIENCE = Patience(total=120.0, pause=2.0)
"""How long the service is waited for: nothing that is asked of a schedule takes it minutes."""

_ALWAYS_GIVEN = ("cron", "max_concurrent_run_count", "create_pipeline_job_request")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule as Vertex AI has it.

    Attributes:
        name: Its resource name, `projects/…/locations/…/schedules/NUMBER`.
        display_name: What people call it.
        cron: Cron with the time zone.
        state: "ACTIVE", "PAUSED" or "COMPLETED".
        next_run: ISO 8601 time of the next run in UTC; "" where there is none.
        max_concurrent_runs: Runs that may be under way at once.
    """

    name: str
    display_name: str
    cron: str
    state: str
    next_run: str
    max_concurrent_runs: int

    @property
    def console(self) -> str:
        """Its page in the Google Cloud console."""
        _, project, _, location, _, number = self.name.split("/")
        page = f"https://console.cloud.google.com/vertex-ai/locations/{location}/pipelines/schedules"
        return f"{page}/{number}?project={project}"


class Schedules:
    """The schedules of a project in a region.

    Args:
        project: Google Cloud project.
        location: Region, e.g. "us-central1".
        patience: How long is waited; None takes `PATIENCE`.

    Raises:
        MissingExtraError: The extra `google` is not installed.
        ArgumentError: There are no credentials.
    """

    def __init__(self, project: str, location: str, patience: Patience | None = None) -> None:
        self._place = Place(project=project, location=location, patience=patience or PATIENCE)
        self._client = google_cloud.client("ScheduleServiceClient", location)

    def put(self, display_name: str, submission: VertexSubmission, timing: Timing) -> tuple[Schedule, Change]:
        """Makes the schedule of this name what is asked for; a paused one stays paused.

        Args:
            display_name: What people call it; another schedule of the same name is changed.
            submission: What each run submits; Vertex AI gives each its own job id.
            timing: When.

        Returns:
            The schedule, and what was done.

        Raises:
            ArgumentError: The name cannot be used, or several schedules have it, or Vertex AI makes no such change.
            HfpcError: Vertex AI refuses it or does not answer.
        """
        check_display_name(display_name)
        wanted, fingerprint = self._wanted(display_name, submission, timing)
        with google_cloud.reaching(f"creating schedule {display_name}"):
            found = self._named(display_name)
            there = found or self._created(display_name, wanted)
        # What was there all the same, unlike what was just made, may be another's.
        if dict(there.create_pipeline_job_request.pipeline_job.labels).get(FINGERPRINT_LABEL) == fingerprint:
            return _read(there), "unchanged" if found else "created"
        _check_change(display_name, there, wanted)
        wanted.name = there.name
        times = [field for field in ("start_time", "end_time") if getattr(wanted, field)]
        request = {"schedule": wanted, "update_mask": {"paths": [*_ALWAYS_GIVEN, *times]}}
        with google_cloud.reaching(f"changing schedule {display_name}"):
            return _read(self._place.ask(self._client.update_schedule, request)), "updated"

    def all(self) -> list[Schedule]:
        """All schedules, the newest first.

        Raises:
            HfpcError: Vertex AI does not answer.
        """
        with google_cloud.reaching("listing schedules"):
            return [_read(each) for each in self._list("")]

    def pause(self, display_name: str) -> None:
        """Lets no further run start; those under way go on.

        Raises:
            ArgumentError: There is no such schedule, or several.
            HfpcError: Vertex AI refuses or does not answer.
        """
        with google_cloud.reaching(f"pausing schedule {display_name}"):
            self._turn(display_name, "PAUSED", self._client.pause_schedule, {})

    def resume(self, display_name: str) -> None:
        """Lets runs start again; those missed meanwhile are left out.

        Raises:
            ArgumentError: There is no such schedule, or several.
            HfpcError: Vertex AI refuses or does not answer.
        """
        with google_cloud.reaching(f"resuming schedule {display_name}"):
            self._turn(display_name, "ACTIVE", self._client.resume_schedule, {"catch_up": False})

    def delete(self, display_name: str) -> None:
        """Removes a schedule; its runs stay.

        Raises:
            ArgumentError: There is no such schedule, or several.
            HfpcError: Vertex AI refuses or does not answer.
        """
        from google.api_core.exceptions import NotFound

        with google_cloud.reaching(f"deleting schedule {display_name}"):
            name = self._existing(display_name)
            try:
                operation = self._place.ask(self._client.delete_schedule, {"name": name})
            except NotFound:  # an earlier try, whose answer was lost
                return
            try:
                self._place.wait(self._client, operation)
            except EndpointError as error:
                raise HfpcError(f"deleting schedule {display_name}: {error}") from error

    def _created(self, display_name: str, wanted: Any) -> Any:
        """Creates it once: Vertex AI takes two of a name, so a further try first looks for what the one before made."""

        def make() -> Any:
            request = {"parent": self._place.parent, "schedule": wanted}
            return self._client.create_schedule(request=request, retry=None, timeout=self._place.patience.call)

        return self._place.ensure(lambda: self._named(display_name), make)

    def _turn(self, display_name: str, state: str, method: Callable[..., Any], request: dict[str, Any]) -> None:
        """Brings a schedule into a state, which Vertex AI refuses where it has it already."""
        from google.api_core.exceptions import BadRequest

        name = self._existing(display_name)

        def now() -> str:  # a list may be late
            return str(self._place.ask(self._client.get_schedule, {"name": name}).state.name)

        before = now()
        if before == "COMPLETED":
            raise ArgumentError("schedule", display_name, "it has ended: delete it, and create it with another end")
        if before == state:
            return
        try:
            self._place.ask(method, {"name": name, **request})
        except BadRequest:
            if now() != state:  # else an earlier try, whose answer was lost
                raise

    def _wanted(self, display_name: str, submission: VertexSubmission, timing: Timing) -> tuple[Any, str]:
        """The schedule as a request has it, and the digest of all that was asked for."""
        from google.cloud import aiplatform_v1 as v1
        from google.protobuf import json_format  # type: ignore[import-untyped]

        job = pipeline_job(submission)
        content: dict[str, Any] = {
            "displayName": display_name,
            "cron": timing.text,
            "maxConcurrentRunCount": str(timing.max_concurrent_runs),
            "createPipelineJobRequest": {"parent": self._place.parent, "pipelineJob": job},
        }
        for which in ("start", "end"):
            if moment := timing.moment(which):
                content[f"{which}Time"] = moment.isoformat()
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        job["labels"] = {**job["labels"], FINGERPRINT_LABEL: digest}
        wanted = v1.Schedule()
        json_format.ParseDict(content, wanted._pb)
        return wanted, digest

    def _existing(self, display_name: str) -> str:
        check_display_name(display_name)
        there = self._named(display_name)
        if there is None:
            known = ", ".join(each.display_name for each in self._list("")) or "none"
            raise ArgumentError("schedule", display_name, f"there is no such schedule; there are {known}")
        return str(there.name)

    def _named(self, display_name: str) -> Any:
        """The schedule of a name; None where there is none."""
        found = self._list(f'display_name="{display_name}"')
        if len(found) > 1:
            fix = f"{len(found)} schedules have this name: delete all but one in the console"
            raise ArgumentError("schedule", display_name, fix)
        return found[0] if found else None

    def _list(self, filter_: str) -> list[Any]:
        def all_pages(**given: Any) -> list[Any]:
            return list(self._client.list_schedules(**given))

        request = {"parent": self._place.parent, "filter": filter_, "order_by": "create_time desc"}
        found: list[Any] = self._place.ask(all_pages, request)
        return found


def _check_change(display_name: str, there: Any, wanted: Any) -> None:
    """Refuses what Vertex AI would refuse: to change what has ended, and to take a start or an end away."""
    if there.state.name == "COMPLETED":
        raise ArgumentError("schedule", display_name, "it has ended: delete it first, or give another name")
    if there.end_time and not wanted.end_time:
        raise ArgumentError("end", "", "an end cannot be taken away: give another, or delete the schedule first")
    if there.start_time and there.start_time > datetime.now(UTC) and not wanted.start_time:
        raise ArgumentError("start", "", "a start cannot be taken away: give another, or delete the schedule first")


def check_display_name(name: str) -> None:
    """Refuses a name that Vertex AI does not take, or that cannot be asked for.

    Raises:
        ArgumentError: It is such a name.
    """
    if not 1 <= len(name) <= 128 or any(character in '"\\' or not character.isprintable() for character in name):
        raise ArgumentError("schedule", name, "give 1 to 128 characters without quotes and backslashes")


def _read(schedule: Any) -> Schedule:
    time = schedule.next_run_time
    return Schedule(
        name=schedule.name,
        display_name=schedule.display_name,
        cron=schedule.cron,
        state=schedule.state.name,
        next_run=time.isoformat(timespec="minutes") if time and time.timestamp() > 0 else "",
        max_concurrent_runs=schedule.max_concurrent_run_count,
    )
