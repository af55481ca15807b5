"""Whether the account of the tasks may do with Vertex AI what they do (Policy Troubleshooter API v1)."""

from collections.abc import Iterator

from hfpc.doctor import Finding
from hfpc.submit.preflight_subject import Subject, ok, problem

_NEEDED = {
    "batch_predict_vertex": "aiplatform.batchPredictionJobs.create",
    "deploy_vertex_endpoint": "aiplatform.endpoints.deploy",
    "find_vertex_champion": "aiplatform.models.get",
    "register_vertex_model": "aiplatform.models.upload",
    "undeploy_vertex_endpoint": "aiplatform.endpoints.undeploy",
}
"""Component to what it cannot do without."""

_CUSTOM_JOB = "aiplatform.customJobs.create"


def vertex(subject: Subject) -> Iterator[Finding]:
    """Whether the tasks may use Vertex AI, where they do."""
    needed = _needed(subject)
    if not needed:
        return
    account = subject.tasks_account()
    lacking: dict[str, list[str]] = {}
    for project, permission in needed:
        if not subject.google.permitted(
            account, permission, f"//cloudresourcemanager.googleapis.com/projects/{project}"
        ):
            lacking.setdefault(project, []).append(permission)
    for project, permissions in lacking.items():
        told = f"{account}, as whom the tasks run, lacks {', '.join(permissions)}"
        member = f"--member=serviceAccount:{account} --role=roles/aiplatform.user"
        yield problem(f"Vertex AI in {project}", told, f"gcloud projects add-iam-policy-binding {project} {member}")
    if not lacking:
        yield ok("Vertex AI", f"{account} may use it")


def _needed(subject: Subject) -> list[tuple[str, str]]:
    """Project and permission of each step that uses Vertex AI."""
    own = subject.submission.project
    found = {(own, _CUSTOM_JOB) for _ in subject.worker_pools()}
    for step in subject.steps:
        if permission := _NEEDED.get(step.function):
            project = step.inputs.get("project")
            found.add((str(project.value or own) if project and project.known else own, permission))
    return sorted(found)
