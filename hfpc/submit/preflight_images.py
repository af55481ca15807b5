"""Whether the container images can be pulled (the registries' own HTTP API V2)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hfpc.doctor import Finding
from hfpc.errors import ArgumentError
from hfpc.sinks.vertex_containers import check_accelerator
from hfpc.submit.image_repository import VARIABLE, serving_image
from hfpc.submit.preflight_google import Answer, Google, NoCredentialsError, UncheckedError, anonymous, send
from hfpc.submit.preflight_subject import Subject, note, ok, problem

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_NOT_SERVED = "Vertex AI serves images of Artifact Registry and Container Registry only"
_COPY = f"copy it there, and set {VARIABLE} to where the images are, or give image=…-docker.pkg.dev/…"
_LOOPBACK = ("127.0.0.1", "localhost")
_IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?", re.I)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Image:
    """Where an image is.

    Attributes:
        host: Host of its registry, with the port where there is one.
        name: Name in the registry.
        tag: Tag or digest.
    """

    host: str
    name: str
    tag: str

    @property
    def is_google(self) -> bool:
        """Whether Google's registries have it, which take Google's tokens."""
        return self.host.endswith((".pkg.dev", ".gcr.io")) or self.host == "gcr.io"

    @property
    def registry(self) -> str:
        """Base URL of the registry; a registry on this machine has no TLS."""
        return f"{'http' if self.host.partition(':')[0] in _LOOPBACK else 'https'}://{self.host}"


def references(subject: Subject) -> list[str]:
    """Every image that the run pulls: of the tasks, of worker pools, and of models that it registers."""
    executors = subject.submission.spec.get("deploymentSpec", {}).get("executors", {}).values()
    found = [executor["container"]["image"] for executor in executors if "image" in executor.get("container", {})]
    for _, pools in subject.worker_pools():
        found += [
            pool["container_spec"]["image_uri"] for pool in pools if "image_uri" in pool.get("container_spec", {})
        ]
    found += [value for _, _, value in subject.inputs("image", "serving_image")]
    return sorted({*found, *serving_images(subject)})


def serving_images(subject: Subject) -> set[str]:
    """The images that serve the models which the run registers with Vertex AI."""
    return {image for step in subject.steps if (image := serving_image(step))}


def idle_accelerators(subject: Subject) -> Iterator[Finding]:
    """Whether a step asks for an accelerator that the server of the model it waits for cannot use."""
    serving = {step.name: serving_image(step) for step in subject.steps}
    for step, origin, accelerator in subject.inputs("accelerator_type"):
        for image in sorted({serving.get(name, "") for name in step.needs} - {""}):
            try:
                check_accelerator(image, accelerator)
            except ArgumentError:
                found = f"{image}, which serves the model, computes on CPUs: it would be paid for and stay idle"
                yield problem(f"{origin} {accelerator} of {step.name}", found, "give none, or an image that has CUDA")


def is_on_artifact_registry(reference: str) -> bool:
    """Whether an image is on Artifact Registry."""
    return reference.partition("/")[0].endswith(".pkg.dev")


def parse(reference: str) -> Image:
    """Where a reference as of `docker pull` means.

    Raises:
        UncheckedError: It is known at run time only.
    """
    if "{{" in reference:
        raise UncheckedError("it is known when the run has begun only")
    first, slash, rest = reference.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if has_host else ("docker.io", reference)
    path, _, digest = path.partition("@")
    name, _, tag = path.partition(":")
    if host == "docker.io":
        host, name = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    return Image(host=host, name=name, tag=digest or tag or "latest")


def images(subject: Subject) -> Iterator[Finding]:
    """Whether each image is there, and where Vertex AI can pull it from."""
    serving = serving_images(subject)
    for reference in references(subject):
        what = f"image {reference}"
        if "{{" not in reference and not _IMAGE.fullmatch(reference):
            yield problem(what, "is no reference to an image", "give registry/name:tag or registry/name@sha256:…")
            continue
        try:
            image = parse(reference)
            if reference in serving and not image.is_google:
                yield problem(what, _NOT_SERVED, _COPY)
                continue
            answer = manifest(subject.google, image)
        except NoCredentialsError:
            yield note(what, "not checked: Google's registries are asked with credentials")
            continue
        except UncheckedError as error:
            yield note(what, f"not checked: {error}")
            continue
        yield _judged(what, image, answer)
        if image.tag == "latest":
            yield note(what, "its tag is latest, so two runs may get two images", "name a version or a digest")


def _judged(what: str, image: Image, answer: Answer) -> Finding:
    if answer.status == 200:
        return ok(what, "is there")
    if answer.status == 404:
        return problem(what, f"{image.host} has no {image.name}:{image.tag}", "push it, or correct the reference")
    if answer.status in (401, 403) and not image.is_google:
        # Vertex AI has Google's credentials only.
        fix = "copy it to Artifact Registry and name it there, or make it public"
        return problem(what, f"{image.host} gives it to nobody without a password, or does not have it", fix)
    return note(what, f"not checked: {answer.message}")


def manifest(google: Google, image: Image) -> Answer:
    """What the image's registry says of it, without its content; the digest is among the headers.

    Raises:
        NoCredentialsError: Google's registries are asked with credentials, and there are none.
        UncheckedError: There is no answer.
    """
    path, headers = f"/v2/{image.name}/manifests/{image.tag}", {"Accept": _MANIFESTS}
    if image.is_google:
        return google.ask("HEAD", image.registry, path, headers=headers)
    with anonymous() as session:
        answer = send(session, "HEAD", image.registry, path, headers=headers)
        if answer.status == 401 and (token := _anonymous_token(session, image, answer)):
            headers["Authorization"] = f"Bearer {token}"
            answer = send(session, "HEAD", image.registry, path, headers=headers)
    return answer


def _anonymous_token(session: Any, image: Image, refusal: Answer) -> str:
    """The token that a registry gives to anybody where its refusal says; "" for none."""
    challenge = dict(_CHALLENGE.findall(refusal.headers.get("WWW-Authenticate", "")))
    realm = urlsplit(challenge.get("realm", ""))
    if realm.scheme != "https" and realm.hostname not in _LOOPBACK:
        return ""
    params = {"service": challenge.get("service", ""), "scope": f"repository:{image.name}:pull"}
    answer = send(session, "GET", f"{realm.scheme}://{realm.netloc}", realm.path, params=params)
    return str(answer.content.get("token") or answer.content.get("access_token") or "")
