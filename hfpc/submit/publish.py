"""Pipelines in a repository of Artifact Registry (format Kubeflow Pipelines): put there, and taken from there."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.vertex import retried

_HOST = r"https://(?P<location>[a-z0-9-]+)-kfp\.pkg\.dev/(?P<project>[a-z0-9.:-]+)/(?P<repository>[a-z0-9-]+)"
_TEMPLATE = re.compile(_HOST + r"/(?P<package>[A-Za-z0-9_.-]+)/(?P<version>sha256:[0-9a-f]{64}|[A-Za-z0-9_.-]+)")
_TAG = re.compile("[a-z0-9][a-z0-9._-]{0,127}")
_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Published:
    """A pipeline in a repository.

    Attributes:
        package: Name of the pipeline there.
        version: `sha256:…`, the digest of its YAML: the same YAML again is the same version.
        addresses: What `hfpc submit` takes: the address of each tag, then that of the version.
    """

    package: str
    version: str
    addresses: tuple[str, ...]


def publish(file: Path, repository: str, tags: list[str]) -> Published:
    """Uploads a compiled pipeline. The same file again changes nothing; a tag moves to what is uploaded with it.

    Args:
        file: The compiled YAML; the name of its pipeline is the name in the repository.
        repository: `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY`.
        tags: Names for this version, e.g. "latest" or "1.4.0".

    Raises:
        ArgumentError: The repository's address or a tag cannot be used, or Artifact Registry refuses them.
        HfpcError: Artifact Registry does not answer.
    """
    host = check_repository(repository)
    for tag in tags:
        check_tag(tag)
    # Asked again after a lost answer it makes the same version.
    text = _ask("POST", host, f"publishing to {host}", file=file, tags=tags).text.strip()
    found = re.fullmatch(r"([^/\s]+)/(sha256:[0-9a-f]+)", text)
    if not found:
        raise HfpcError(f"publishing to {host}: the answer names no package and version: {text[:200]!r}")
    package, version = found.groups()
    return Published(
        package=package, version=version, addresses=tuple(f"{host}/{package}/{each}" for each in (*tags, version))
    )


def is_template(pipeline: str) -> bool:
    """Whether a pipeline is named by an address in a repository."""
    return pipeline.startswith("https://")


def download(address: str) -> Any:
    """The pipeline at an address, as an object of kfp.

    Args:
        address: `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/NAME/TAG`, or with `sha256:…` in place of the tag.

    Raises:
        ArgumentError: It is no such address, nothing is there, or what is there is no pipeline.
        HfpcError: Artifact Registry does not answer.
    """
    from kfp.components import load_component_from_text

    if not _TEMPLATE.fullmatch(address):
        fix = "give https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/NAME/TAG, a compiled .yaml or a pipeline's name"
        raise ArgumentError("pipeline", address, fix)
    text = _ask("GET", address, f"downloading {address}").text
    try:
        return load_component_from_text(text)
    except Exception as error:  # kfp raises whatever its YAML and protobuf readers do
        raise ArgumentError("pipeline", address, f"what is there is not a compiled pipeline ({error})") from error


def check_repository(repository: str) -> str:
    """The address of a repository without a slash at its end.

    Raises:
        ArgumentError: It is none.
    """
    host = repository.rstrip("/")
    if not re.fullmatch(_HOST, host):
        raise ArgumentError("repository", repository, "give https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY")
    return host


def check_tag(tag: str) -> None:
    """Refuses what cannot be a tag.

    Raises:
        ArgumentError: It cannot.
    """
    if not _TAG.fullmatch(tag):
        raise ArgumentError("tag", tag, "give at most 128 lower case letters, digits, '.', '-' and '_'")


def _ask(verb: str, url: str, what: str, file: Path | None = None, tags: list[str] | None = None) -> Any:
    """A request to the registry that may be done twice, asked again when its answer is lost.

    Raises:
        ArgumentError: It says that there is no such repository or pipeline, or that the caller may not.
        HfpcError: It fails for another reason.
    """
    session = google_cloud.session()
    from google.api_core.exceptions import from_http_status

    def send() -> Any:
        form = {"data": {"tags": ",".join(tags)}} if tags else {}
        files = {"files": {"content": (file.name, file.read_bytes())}} if file else {}
        answer = session.request(verb, url, timeout=_TIMEOUT, **form, **files)  # type: ignore[no-untyped-call]
        if answer.status_code in (429, 500, 502, 503, 504):
            text = answer.text[:300] or str(answer.reason)
            raise from_http_status(answer.status_code, text)  # type: ignore[no-untyped-call]
        return answer

    answer = retried(what, send, "Artifact Registry")
    if answer.ok:
        return answer
    argument = "repository" if verb == "POST" else "pipeline"
    said = " ".join(answer.text.split())[:300]
    fixes = {
        401: "your credentials are not accepted: run `gcloud auth application-default login`",
        403: "grant yourself roles/artifactregistry.writer"
        if verb == "POST"
        else "grant roles/artifactregistry.reader",
        404: "there is none: make it with `gcloud artifacts repositories create NAME --repository-format=kfp`"
        if verb == "POST"
        else "there is no such pipeline, tag or version",
    }
    fix = fixes.get(answer.status_code, "see what it says")
    raise ArgumentError(argument, url, f"Artifact Registry answers {answer.status_code}, {fix} ({said})")
