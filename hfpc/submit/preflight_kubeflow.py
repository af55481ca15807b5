"""What will make a run on Kubeflow fail, as far as it can be told without asking the cluster."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hfpc import images
from hfpc.doctor import Finding
from hfpc.submit.image_repository import VARIABLE
from hfpc.submit.kubeflow import KubeflowSubmission, loses_checkpoints
from hfpc.submit.kubernetes import CACHE_PATH
from hfpc.submit.preflight_google import Google, UncheckedError
from hfpc.submit.preflight_images import manifest, parse
from hfpc.submit.preflight_spec import LOCAL_INPUTS, is_local, lost_registries
from hfpc.submit.preflight_subject import in_one_line, inputs, note, ok, problem

_VOLUME = f"{CACHE_PATH}/"
_ASKED_AT_ONCE = 8


def preflight(submission: KubeflowSubmission) -> list[Finding]:
    """Everything that can be told before a submission. Only the registries of the images are asked.

    Args:
        submission: What is to be submitted.

    Returns:
        One finding a line, as of the preflight for Vertex AI.
    """
    found = [*_paths(submission), *lost_registries(submission.graph.steps, "/VOLUME/…", "finetune_kubeflow")]
    if loses_checkpoints(submission):
        fix = "give checkpoint_uri=s3://…"
        found.append(note("spot machines", "may be taken back: training starts anew then", fix))
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        found += pool.map(_image, sorted(_references(submission)))
    found.append(note("not checked", "cluster, namespace, quota, secrets: only the cluster knows them"))
    return list(map(in_one_line, found))


def _paths(submission: KubeflowSubmission) -> Iterator[Finding]:
    """Values that are paths: of this machine, or of a volume that the tasks must have."""
    values = {origin: value for _, origin, value in inputs(submission.graph.steps, *LOCAL_INPUTS)}
    for name, value in values.items():
        if not is_local(value, _VOLUME):
            continue
        if value.startswith("/") and not Path(value).exists():
            yield note(name, f"{value} is looked for in the container of the step", "mount a volume there")
        else:
            fix = "the tasks run elsewhere: copy it to a bucket and give its address, e.g. s3://…"
            yield problem(name, f"{value} is on this machine only", fix)


def _references(submission: KubeflowSubmission) -> set[str]:
    """The images of all tasks."""
    executors = submission.spec["deploymentSpec"]["executors"].values()
    return {each["container"]["image"] for each in executors if "image" in each.get("container", {})}


def _image(reference: str) -> Finding:
    """Whether a registry has an image. A cluster may have passwords and mirrors that this machine knows nothing of."""
    what = f"image {reference}"
    try:
        answer = manifest(Google("", ""), parse(reference))
    except UncheckedError as error:
        return note(what, f"not checked: {error}")
    if answer.status == 200:
        return ok(what, "is there")
    own = reference.startswith(f"{images.DEFAULT_REPOSITORY}/")
    push = f"`make push` puts it into a repository of yours; set {VARIABLE} to that"
    if answer.status == 404:
        return problem(what, "its registry does not have it", push if own else "push it, or correct the reference")
    if answer.status in (401, 403):
        fix = push if own else "give the cluster a pull secret, if it has none"
        return note(what, "its registry gives it to nobody without a password, or does not have it", fix)
    return note(what, f"not checked: {answer.message}")
