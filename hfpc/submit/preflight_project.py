"""Who submits, where, and as whom the tasks run."""

import re
from collections.abc import Iterator
from typing import Any

from hfpc import google_cloud
from hfpc.doctor import Finding
from hfpc.submit.preflight_google import Answer, NoCredentialsError
from hfpc.submit.preflight_images import is_on_artifact_registry, references
from hfpc.submit.preflight_subject import Subject, note, ok, problem
from hfpc.submit.vertex_submission import SERVICE_ACCOUNT

_JOB_ID = re.compile(r"[a-z][a-z0-9-]{0,127}")
_SUBMIT = "aiplatform.pipelineJobs.create"
_ACT_AS = "iam.serviceAccounts.actAs"


def credentials(subject: Subject) -> Iterator[Finding]:
    """Whether there are credentials, and a token for them (the token server that they name)."""
    try:
        found: Any = subject.google.session().credentials
    except NoCredentialsError as error:
        fix = "run `gcloud auth application-default login`, or name a valid key file in GOOGLE_APPLICATION_CREDENTIALS"
        yield problem("credentials", f"they cannot be used: {error}", fix)
        return
    yield ok("credentials", getattr(found, "service_account_email", "") or "a user's")


def project(subject: Subject) -> Iterator[Finding]:
    """Whether the project is there and the caller may submit to it (Resource Manager API v3)."""
    google, path = subject.google, f"/v3/projects/{subject.submission.project}"
    what, fix = f"project {google.project}", "give the id of a project that `gcloud projects list` shows"
    found = google.get("cloudresourcemanager", path)
    if found.status == 404:
        yield problem(what, "does not exist", fix)
        return
    if found.status == 200 and found.content.get("state") != "ACTIVE":
        yield problem(what, f"its state is {found.content.get('state')}, not ACTIVE", fix)
        return
    # Resource Manager answers 403 for what does not exist, too.
    asked = google.post("cloudresourcemanager", f"{path}:testIamPermissions", {"permissions": [_SUBMIT]})
    if found.status == 403 and asked.status == 403 and _is_denied(asked):
        yield problem(what, "does not exist, or these credentials have no access to it", fix)
    elif _SUBMIT not in asked.get().get("permissions", []):
        told = f"the caller lacks {_SUBMIT}, which submitting needs"
        yield problem(what, told, f"grant roles/aiplatform.user on {google.project} to the caller")
    else:
        yield ok(what, "the caller may submit")


def apis(subject: Subject) -> Iterator[Finding]:
    """Whether the services that the run uses are switched on (Service Usage API v1)."""
    google = subject.google
    needed = ["aiplatform", "storage"]
    if any(is_on_artifact_registry(image) for image in references(subject)):
        needed.append("artifactregistry")
    names = [f"projects/{google.project}/services/{name}.googleapis.com" for name in needed]
    path = f"/v1/projects/{google.project}/services:batchGet"
    services = google.get("serviceusage", path, [("names", name) for name in names]).get().get("services", [])
    states = {service["name"].split("/")[-1]: service.get("state") for service in services}
    off = [f"{name}.googleapis.com" for name in needed if states.get(f"{name}.googleapis.com") == "DISABLED"]
    unknown = [f"{name}.googleapis.com" for name in needed if f"{name}.googleapis.com" not in states]
    if off:
        fix = f"gcloud services enable {' '.join(off)} --project={google.project}"
        yield problem("APIs", f"{', '.join(off)} not enabled in {google.project}", fix)
    if unknown:
        yield note("APIs", f"Service Usage tells nothing of {', '.join(unknown)}")
    if not off and not unknown:
        yield ok("APIs", f"{', '.join(needed)} enabled")


def location(subject: Subject) -> Iterator[Finding]:
    """Whether Vertex AI is in the region (`projects.locations.list` of the Vertex AI API v1)."""
    google = subject.google
    what = f"location {google.location}"
    if not subject.is_region:
        yield problem(what, "is no region", "give a region, e.g. us-central1")
        return
    regions, page = set(), ""
    while True:
        params = {"pageSize": "100", "pageToken": page}
        answer = google.get("aiplatform", f"/v1/projects/{google.project}/locations", params).get()
        regions |= {place["locationId"] for place in answer.get("locations", [])}
        page = answer.get("nextPageToken", "")
        if not page:
            break
    if not regions:
        yield note(what, "not checked: Vertex AI lists no region")
    elif google.location not in regions:
        near = sorted(region for region in regions if region.split("-")[0] == google.location.split("-")[0])
        yield problem(what, "has no Vertex AI", f"give another, e.g. {', '.join((near or sorted(regions))[:4])}")
    else:
        yield ok(what, "has Vertex AI")


def service_account(subject: Subject) -> Iterator[Finding]:
    """Whether the account of the tasks is there, and the caller may act as it (IAM API v1)."""
    google, given = subject.google, subject.submission.service_account
    if given and not SERVICE_ACCOUNT.fullmatch(given):
        fix = "give its e-mail address, NAME@PROJECT.iam.gserviceaccount.com"
        yield problem(f"service account {given}", "is no service account", fix)
        return
    email = subject.tasks_account()
    what = f"service account {email}" + ("" if given else " (the default)")
    home = _home(email, google.project)
    path = f"/v1/projects/{home}/serviceAccounts/{email}"
    found = google.get("iam", path)
    if found.status == 404:
        create = f"gcloud iam service-accounts create {email.partition('@')[0]} --project={home}"
        fix = f"give one that exists, or create it: {create}" if given else "give --service-account"
        yield problem(what, f"does not exist in {home}", fix)
        return
    if found.content.get("disabled"):
        yield problem(what, "is disabled", f"gcloud iam service-accounts enable {email} --project={home}")
        return
    granted = google.post("iam", f"{path}:testIamPermissions", {"permissions": [_ACT_AS]}).get()
    if _ACT_AS not in granted.get("permissions", []):
        yield problem(
            what, f"the caller lacks {_ACT_AS} on it", "grant roles/iam.serviceAccountUser on it to the caller"
        )
    else:
        yield ok(what, "the caller may act as it")


def job_id(subject: Subject) -> Iterator[Finding]:
    """Whether the id of the run can be used and is free (`pipelineJobs.get` of the Vertex AI API v1)."""
    google, given = subject.google, subject.submission.job_id
    what = f"job id {given}"
    if not _JOB_ID.fullmatch(given):
        fix = "use lower case letters, digits and '-', at most 128, a letter first"
        yield problem(what, "Vertex AI takes no such id", fix)
        return
    if not subject.is_region:
        return
    path = f"/v1/projects/{google.project}/locations/{google.location}/pipelineJobs/{given}"
    found = google.ask("GET", google_cloud.endpoint("aiplatform", google.location), path)
    if found.status == 404:
        yield ok(what, "is free")
        return
    yield problem(what, f"is taken by a run in state {found.get().get('state', 'unknown')}", "give another job id")


def _home(email: str, project: str) -> str:
    """The project that a service account belongs to, as its address tells; the run's own where it does not.

    The IAM API also takes `-` for the project, but then answers 403 for an account that does not exist.
    """
    domain = email.partition("@")[2]
    if not domain.endswith(".iam.gserviceaccount.com"):
        return project
    name, _, organisation = domain.removesuffix(".iam.gserviceaccount.com").partition(".")
    return f"{organisation}:{name}" if organisation else name


def _is_denied(answer: Answer) -> bool:
    """Whether the caller lacks a permission, and not the project the API."""
    error = answer.content.get("error", {})
    reasons = {detail.get("reason") for detail in error.get("details", [])}
    return "SERVICE_DISABLED" not in reasons and "has not been used in project" not in error.get("message", "")
