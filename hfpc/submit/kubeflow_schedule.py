"""Recurring runs of Kubeflow Pipelines, known by their display names.

A recurring run cannot be changed. To change one, the new one is created paused, then the old one is paused, the new one
resumed, and the old one deleted: at no moment do two start runs, and a new one that Kubeflow refuses leaves the old one
as it was. The description of the new one tells whether the old one was active, so that wherever a change is broken off,
the same change again finishes it: as long as both are there, it is not finished.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.cron import Timing, with_sunday_as_0
from hfpc.submit.kubeflow import KubeflowSubmission, experiment, job, mark, upload
from hfpc.submit.kubeflow_client import RequestError, Server, named
from hfpc.submit.schedule import Change, check_display_name

_MOST_CONCURRENT_RUNS = 10  # what the API server takes
_TAKES_OVER = "\ntakes over from the active "  # and the id of the old one


@dataclass(frozen=True, kw_only=True)
class RecurringRun:
    """A recurring run as Kubeflow has it.

    Attributes:
        recurring_run_id: Kubeflow's id of it.
        display_name: What people call it.
        cron: Its cron of six fields, the first for seconds; "" where it runs at an interval.
        state: "ACTIVE" or "PAUSED".
        max_concurrent_runs: Runs that may be under way at once.
        page: Its page in Kubeflow's console.
    """

    recurring_run_id: str
    display_name: str
    cron: str
    state: str
    max_concurrent_runs: int
    page: str


def kubeflow_cron(timing: Timing) -> str:
    """The cron as Kubeflow takes it: with seconds, without a time zone, Sunday as 0.

    Kubeflow has one time zone for all recurring runs, which its administrator sets. It is UTC unless that was changed,
    and the API does not tell.

    Raises:
        ArgumentError: The time zone is not UTC all year, or more runs at once are asked for than Kubeflow allows.
    """
    if timing.max_concurrent_runs > _MOST_CONCURRENT_RUNS:
        fix = f"Kubeflow takes at most {_MOST_CONCURRENT_RUNS}"
        raise ArgumentError("max_concurrent_runs", timing.max_concurrent_runs, fix)
    zone, today = ZoneInfo(timing.time_zone), datetime.now(UTC)
    if any((today + timedelta(days=day)).astimezone(zone).utcoffset() for day in range(366)):
        fix = "Kubeflow's crons have no time zone and are read as UTC: give the cron in UTC, and no time zone"
        raise ArgumentError("time_zone", timing.time_zone, fix)
    fields = timing.cron.split()
    if "7" in fields[-1]:
        fields[-1] = with_sunday_as_0(fields[-1])
    return " ".join(["0", *fields])


class RecurringRuns:
    """The recurring runs of a namespace.

    Args:
        server: The Kubeflow Pipelines.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._api = server.client.recurring_runs

    def put(self, name: str, submission: KubeflowSubmission, timing: Timing) -> tuple[RecurringRun, Change]:
        """Makes the recurring run of this name what is asked for; a paused one stays paused.

        Args:
            name: What people call it; another of the same name is replaced.
            submission: What each run submits.
            timing: When.

        Returns:
            The recurring run, and what was done.

        Raises:
            ArgumentError: The name cannot be used, or several have it, or Kubeflow cannot say the timing.
            HfpcError: Kubeflow refuses it or does not answer.
        """
        check_display_name(name)
        trigger = _trigger(timing)
        description = mark(_digest(name, submission, timing, trigger))
        found = self._named(name)
        same = [each for each in found if _says(each, description)]
        old = [each for each in found if not _says(each, description)]
        if len(old) > 1 or len(same) > 1:
            raise self._several(name, found)
        if same and not old:
            return self._read(same[0]), "unchanged"
        body = {
            **job(submission, experiment(self._server, submission.experiment), *upload(self._server, submission)),
            "display_name": name,
            "description": description + (f"{_TAKES_OVER}{old[0].recurring_run_id}" if _were_active(old) else ""),
            "trigger": trigger,
            "max_concurrency": str(timing.max_concurrent_runs),
            "no_catchup": True,
            "mode": "DISABLE" if old else "ENABLE",
        }
        new, _ = self._server.once(
            f"creating schedule {name}",
            lambda: next((each for each in self._named(name) if _says(each, description)), None),
            lambda: self._api.recurring_run_service_create_recurring_run(
                recurring_run=body, _request_timeout=self._server.timeout
            ),
        )
        if old:
            self._take_over(name, old[0], new)
        return self._read(self._only(name)), "updated" if old else "created"

    def all(self) -> list[RecurringRun]:
        """All recurring runs of the namespace.

        Raises:
            HfpcError: Kubeflow does not answer.
        """
        return [self._read(each) for each in self._list({})]

    def pause(self, name: str) -> None:
        """Lets no further run start; those under way go on.

        Raises:
            ArgumentError: There is no such recurring run, or several.
            HfpcError: Kubeflow refuses or does not answer.
        """
        self._set(f"pausing schedule {name}", self._api.recurring_run_service_disable_recurring_run, self._id(name))

    def resume(self, name: str) -> None:
        """Lets runs start again; of those missed meanwhile, Kubeflow starts the last.

        Raises:
            ArgumentError: There is no such recurring run, or several.
            HfpcError: Kubeflow refuses or does not answer.
        """
        self._set(f"resuming schedule {name}", self._api.recurring_run_service_enable_recurring_run, self._id(name))

    def delete(self, name: str) -> None:
        """Removes a recurring run; its runs stay.

        Raises:
            ArgumentError: There is no such recurring run, or several.
            HfpcError: Kubeflow refuses or does not answer.
        """
        self._delete(f"deleting schedule {name}", self._id(name))

    def _take_over(self, name: str, old: Any, new: Any) -> None:
        """Lets the new one start runs if the old one did, and deletes the old one."""
        what = f"replacing schedule {name}"
        if _is_active(old) or old.recurring_run_id in new.description.partition(_TAKES_OVER)[2]:
            self._set(what, self._api.recurring_run_service_disable_recurring_run, old.recurring_run_id)
            try:
                self._set(what, self._api.recurring_run_service_enable_recurring_run, new.recurring_run_id)
            except HfpcError as error:
                raise HfpcError(f"{error}; no run starts until the schedule is created again") from error
        self._delete(what, old.recurring_run_id)

    def _only(self, name: str) -> Any:
        found = self._named(name)
        if len(found) > 1:
            raise self._several(name, found)
        if not found:
            raise HfpcError(f"schedule {name} was deleted meanwhile: create it again")
        return found[0]

    def _set(self, what: str, change: Any, number: str) -> None:
        self._server.retried(what, lambda: change(number, _request_timeout=self._server.timeout))

    def _delete(self, what: str, number: str) -> None:
        try:
            self._set(what, self._api.recurring_run_service_delete_recurring_run, number)
        except RequestError as error:
            if error.status != 404:  # else an earlier try, whose answer was lost
                raise

    def _id(self, name: str) -> str:
        check_display_name(name)
        found = self._named(name)
        if not found:
            known = ", ".join(each.display_name for each in self.all()) or "none"
            raise ArgumentError("schedule", name, f"there is no such schedule; there are {known}")
        if len(found) > 1:
            raise self._several(name, found)
        return str(found[0].recurring_run_id)

    def _several(self, name: str, found: list[Any]) -> ArgumentError:
        several = f"{len(found)} schedules have this name: create it again if a change was interrupted"
        fix = f"{several}, else delete all but one at {self._server.host}/#/recurringruns"
        return ArgumentError("schedule", name, fix)

    def _named(self, name: str) -> list[Any]:
        return self._list({"filter": named(name)})

    def _list(self, given: dict[str, str]) -> list[Any]:
        own = {"namespace": self._server.namespace} if self._server.namespace else {}
        ask = self._api.recurring_run_service_list_recurring_runs
        return self._server.all("listing schedules", "recurring_runs", lambda **page: ask(**given, **own, **page))

    def _read(self, found: Any) -> RecurringRun:
        cron = found.trigger.cron_schedule if found.trigger else None
        return RecurringRun(
            recurring_run_id=found.recurring_run_id,
            display_name=found.display_name,
            cron=(cron.cron if cron else None) or "",
            state="ACTIVE" if _is_active(found) else "PAUSED",
            max_concurrent_runs=int(found.max_concurrency or 1),
            page=f"{self._server.host}/#/recurringrun/details/{found.recurring_run_id}",
        )


def _says(found: Any, description: str) -> bool:
    """Whether this is what a recurring run was made of, whatever it takes over from."""
    return str(found.description or "").partition(_TAKES_OVER)[0] == description


def _were_active(old: list[Any]) -> bool:
    return any(_is_active(each) for each in old)


def _is_active(found: Any) -> bool:
    return str(found.status) == "ENABLED"


def _trigger(timing: Timing) -> dict[str, Any]:
    moments = {
        f"{which}_time": moment.astimezone(UTC) for which in ("start", "end") if (moment := timing.moment(which))
    }
    return {"cron_schedule": {"cron": kubeflow_cron(timing)} | {key: each.isoformat() for key, each in moments.items()}}


def _digest(name: str, submission: KubeflowSubmission, timing: Timing, trigger: dict[str, Any]) -> str:
    content = [name, submission.fingerprint, timing.max_concurrent_runs, trigger]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
