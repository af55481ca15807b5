"""What can be told of a submission by itself: nothing is asked."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hfpc.doctor import Finding
from hfpc.errors import ArgumentError
from hfpc.submit.graph import Graph, Step
from hfpc.submit.parameters import check, resolve
from hfpc.submit.preflight_subject import Subject, ok, problem
from hfpc.submit.vertex_submission import MOST_LABELS, VertexSubmission

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_LABEL_KEY = re.compile(r"[^\W\d_][\w-]{0,62}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")
_MOUNTED = "/gcs/"
"""Where Vertex AI mounts every bucket that a task may read."""

LOCAL_INPUTS = ("source", "base_model", "dataset", "model")
"""Inputs that may be a path."""


def steps(submission: VertexSubmission) -> tuple[Step, ...]:
    """The tasks of a submission; none where its spec cannot be read, which `pipeline` tells."""
    try:
        values = resolve(submission.spec, submission.parameters)
    except (ArgumentError, KeyError):
        values = submission.parameters
    try:
        return tuple(Graph(spec=submission.spec, parameters=values).steps)
    except (KeyError, TypeError, AttributeError, ValueError):
        return ()


def pipeline(subject: Subject) -> Iterator[Finding]:
    """Whether Vertex AI can load the pipeline spec."""
    spec = subject.submission.spec
    compile_again = "compile it with `hfpc compile --target vertex`"
    missing = [key for key in ("root", "components", "deploymentSpec", "schemaVersion") if key not in spec]
    version, name = str(spec.get("schemaVersion", "")), str(spec.get("pipelineInfo", {}).get("name", ""))
    if "platforms" in spec:
        yield problem("pipeline", "it has Kubernetes settings, which Vertex AI does not load", compile_again)
    elif missing:
        yield problem("pipeline", f"its spec has no {', '.join(missing)}", compile_again)
    elif not version.startswith("2."):
        yield problem("pipeline", f"schemaVersion {version} is not one Vertex AI takes (2.x)", compile_again)
    elif not _NAME.fullmatch(name):
        fix = "name it with lower case letters, digits and '-', at most 128: @dsl.pipeline(name=…)"
        yield problem("pipeline", f"Vertex AI takes no pipeline named {name!r}", fix)
    elif not subject.steps:
        yield problem("pipeline", "its spec holds no task that can be read", compile_again)
    else:
        yield ok("pipeline", f"{name}, {len(subject.steps)} tasks")


def parameters(subject: Subject) -> Iterator[Finding]:
    """Whether the parameters fit the pipeline and its components, and name nothing that only this machine has."""
    submission = subject.submission
    try:
        values = resolve(submission.spec, submission.parameters)
        check(Graph(spec=submission.spec, parameters=values))
    except ArgumentError as error:
        yield problem("parameters", str(error).removesuffix(f": {error.fix}"), error.fix)
        return
    local = {origin: value for _, origin, value in subject.inputs(*LOCAL_INPUTS) if is_local(value, _MOUNTED)}
    for name, value in local.items():
        fix = "the tasks run elsewhere: copy it to a bucket and give its gs:// address"
        yield problem("parameters", f"{name}={value} is on this machine only", fix)
    yield from lost_registries(subject.steps, f"{_MOUNTED}BUCKET/…", "finetune_vertex")
    if not local:
        yield ok("parameters", f"{len(values)} values fit")


def labels(subject: Subject) -> Iterator[Finding]:
    """Whether the labels keep to Google Cloud's rules."""
    given = subject.submission.labels
    wrong = [f"{key}={value}" for key, value in given.items() if not _is_label(key, value)]
    if wrong:
        fix = "use lower case letters, digits, '-' and '_', at most 63 a key and a value, a letter first in a key"
        yield problem("labels", f"Google Cloud takes no label {', '.join(wrong)}", fix)
    elif len(given) > MOST_LABELS:
        yield problem("labels", f"{len(given)} labels", f"give at most {MOST_LABELS}")
    elif given:
        yield ok("labels", f"{len(given)} valid")


def _is_label(key: str, value: str) -> bool:
    is_lower = key == key.lower() and value == value.lower()
    return is_lower and bool(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value))


def is_local(value: str, mounted: str) -> bool:
    """Whether a value is a path of this machine, and not below the folder where tasks find a volume."""
    is_path = value.startswith(("/", "./", "../", "~", "file://"))
    return not value.startswith(mounted) and (is_path or ("://" not in value and Path(value).exists()))


def lost_registries(steps: Iterable[Step], shared: str, instead: str) -> Iterator[Finding]:
    """What a run would keep in a local registry that nobody sees: that of a step's own container.

    Args:
        steps: The tasks.
        shared: A folder that all tasks share.
        instead: A pipeline that keeps its models elsewhere.
    """
    for step in steps:
        registry = step.inputs.get("registry")
        if step.function == "register_local_model" and registry and registry.known and not registry.value:
            found = f"{step.name} keeps the model in its own container, which is gone afterwards"
            fix = f"submit {instead}, or give a registry that all tasks share, e.g. {shared}"
            yield problem(registry.origin or "registry", found, fix)
