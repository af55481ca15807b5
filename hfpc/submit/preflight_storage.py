"""The bucket of the pipeline root, and what the parameters name on Cloud Storage (its JSON API v1)."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from hfpc.doctor import Finding
from hfpc.submit.preflight_google import UncheckedError
from hfpc.submit.preflight_subject import Subject, note, ok, problem

_GS = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?", re.S)
_NEEDED = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
_GRANT = "gcloud storage buckets add-iam-policy-binding gs://{name} --role=roles/storage.objectUser --member="
_READ_INPUTS = ("source", "base_model", "uri")
_WRITTEN_INPUTS = ("checkpoint_uri", "staging_uri", "destination_uri", "output_uri")
_DUAL_REGIONS = {
    "ASIA1": ("asia-northeast1", "asia-northeast2"),
    "EUR4": ("europe-north1", "europe-west4"),
    "EUR5": ("europe-west1", "europe-west2"),
    "EUR7": ("europe-west2", "europe-west3"),
    "EUR8": ("europe-west3", "europe-west6"),
    "NAM4": ("us-central1", "us-east1"),
}
_MULTI_REGIONS = {"US": "us-", "EU": "europe-", "ASIA": "asia-"}
_NOT_IN_EU = ("europe-west2", "europe-west6")  # London and Zürich


def bucket(subject: Subject) -> Iterator[Finding]:
    """Whether the bucket of the artifacts is there, in the region, and can be written."""
    root = _GS.fullmatch(subject.submission.pipeline_root)
    if not root:
        given = subject.submission.pipeline_root
        yield problem(f"pipeline root {given}", "is not on Cloud Storage", "give gs://BUCKET/FOLDER")
        return
    name, google = root[1], subject.google
    what = f"bucket gs://{name}"
    found = google.storage(f"/storage/v1/b/{name}")
    if found.status == 404:
        create = f"gcloud storage buckets create gs://{name} --project={google.project} --location={google.location}"
        yield problem(what, "does not exist", create)
        return
    if found.status != 200:
        yield note(f"{what}, location", f"not checked: {found.message}")
    elif subject.is_region:
        yield _placed(what, found.content, google.location)
    yield from _written(subject, name)
    if not subject.submission.service_account:
        yield from _written_by_jobs(subject, name)


def sources(subject: Subject) -> Iterator[Finding]:
    """Whether the files and folders that the tasks read are there, and the buckets that they write to."""
    reads = {value: origin for _, origin, value in subject.inputs(*_READ_INPUTS) if value.startswith("gs://")}
    writes = {value: origin for _, origin, value in subject.inputs(*_WRITTEN_INPUTS) if value.startswith("gs://")}
    for _, origin, value in subject.inputs(*_READ_INPUTS, *_WRITTEN_INPUTS):
        if "://" in value and not value.startswith(("gs://", "file://")):
            yield note(f"{origin} {value}", "not checked: only Cloud Storage and the Hub are asked")
    if reads or writes:
        subject.google.session()  # without one, nothing below can be checked
    for value, origin in [*reads.items(), *writes.items()]:
        what, place = f"{origin} {value}", _GS.fullmatch(value)
        if not place:
            yield problem(what, "is no address on Cloud Storage", "give gs://BUCKET/PATH")
            continue
        try:
            is_there = _exists(subject, place[1], place[2] or "") if value in reads else _has_bucket(subject, place[1])
        except UncheckedError as error:
            yield note(what, f"not checked: {error}")
            continue
        if is_there:
            yield ok(what, "is there" if value in reads else "its bucket is there")
        elif value in reads:
            yield problem(what, "there is nothing there", f"copy it there, or correct {origin}")
        else:
            yield problem(what, f"the bucket {place[1]} does not exist", f"create it, or correct {origin}")


def _placed(what: str, content: dict[str, Any], region: str) -> Finding:
    """Whether a bucket's data lies in the region."""
    where = str(content.get("location", "")).lower()
    kind = content.get("locationType", "region")
    own = content.get("customPlacementConfig", {}).get("dataLocations") or _DUAL_REGIONS.get(where.upper())
    if kind == "multi-region" and where.upper() in _MULTI_REGIONS:
        in_eu = where != "eu" or region not in _NOT_IN_EU
        fits = region.startswith(_MULTI_REGIONS[where.upper()]) and in_eu
    elif own:  # regions, or the zone of a zonal bucket
        fits = any(f"{place.lower()}-".startswith(f"{region}-") for place in own)
    elif kind == "region":
        fits = where == region
    else:
        return note(f"{what}, location", f"not checked: the regions of {where} are not known here")
    if fits:
        return ok(f"{what}, location", where)
    fix = f"give a bucket in {region}, or submit to a region of {where}"
    return problem(f"{what}, location", f"it is in {where}, the run in {region}", fix)


def _written(subject: Subject, name: str) -> Iterator[Finding]:
    """Whether the tasks, as whom they run, may write; else whether the caller may, who can always be asked about."""
    what = f"bucket gs://{name}, access"
    tasks = _may_write(subject, subject.tasks_account, name)
    account = subject.submission.service_account or "the default service account"
    grant = _GRANT.format(name=name)
    if isinstance(tasks, bool):
        if tasks:
            yield ok(what, f"{account} may write")
        else:
            told = f"{account}, as whom the tasks run, may not write"
            yield problem(what, told, f"{grant}serviceAccount:{subject.submission.service_account or 'ACCOUNT'}")
            return
    params = [("permissions", permission) for permission in _NEEDED]
    answer = subject.google.storage(f"/storage/v1/b/{name}/iam/testPermissions", params)
    if answer.status != 200:
        yield note(f"{what} of the caller", f"not checked: {answer.message}")
    elif lacking := [permission for permission in _NEEDED if permission not in answer.content.get("permissions", [])]:
        told = f"the caller lacks {', '.join(lacking)}"
        if tasks is True:
            yield note(what, f"{told}, but the tasks do not need the caller's rights")
            return
        yield problem(what, told, f"{grant}MEMBER")
        return
    else:
        yield ok(f"{what} of the caller", "may write")
    if not isinstance(tasks, bool):
        fix = f"make sure that it has roles/storage.objectUser on gs://{name}"
        yield note(f"{what} of {account}", f"not checked: {tasks}", fix)


def _written_by_jobs(subject: Subject, name: str) -> Iterator[Finding]:
    """Whether custom jobs may write as whom they run where no account is given, which is not as whom other tasks do."""
    jobs = ", ".join(step.name for step, _ in subject.worker_pools())
    if not jobs:
        return
    what = f"bucket gs://{name}, access of custom jobs ({jobs})"
    may = _may_write(subject, subject.jobs_account, name)
    default = "Vertex AI's Custom Code Service Agent, as which they run without --service-account"
    if may is True:
        yield ok(what, f"{default}, may write")
    elif may is False:
        fix = f"give --service-account, or {_GRANT.format(name=name)}serviceAccount:{subject.jobs_account()}"
        yield problem(what, f"{default}, may not write", fix)
    else:
        yield note(what, f"not checked for {default}: {may}", "give --service-account, or make sure that it may write")


def _may_write(subject: Subject, account: Callable[[], str], name: str) -> bool | str:
    """Whether an account may write to a bucket, or why that cannot be told."""
    try:
        return subject.google.permitted(account(), _NEEDED[0], f"//storage.googleapis.com/projects/_/buckets/{name}")
    except UncheckedError as error:
        return str(error)


def _has_bucket(subject: Subject, name: str) -> bool:
    answer = subject.google.storage(f"/storage/v1/b/{name}")
    return answer.status != 404 and bool(answer.get())


def _exists(subject: Subject, name: str, path: str) -> bool:
    """Whether there is an object, a folder, or anything that a pattern may mean."""
    objects = f"/storage/v1/b/{name}/o"
    fixed = re.split(r"[*?\[]", path)[0]
    prefix = fixed if fixed != path or not path else f"{path.rstrip('/')}/"
    listed = subject.google.storage(objects, {"prefix": prefix, "maxResults": "1"})
    if listed.status == 404:
        return False
    if listed.get().get("items"):
        return True
    if fixed != path or not path:
        return False
    found = subject.google.storage(f"{objects}/{quote(path, safe='')}", {"fields": "name"})
    return found.status != 404 and bool(found.get())
