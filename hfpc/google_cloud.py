"""Google Cloud: who calls, for which project, and where its services answer.

Credentials are those of the environment (`google.auth.default`): a service account of the machine, workload identity,
or `gcloud auth application-default login`. A service is asked at another address, such as a Private Service Connect
endpoint, where gcloud's own variable `CLOUDSDK_API_ENDPOINT_OVERRIDES_<API>` names one.
"""

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfpc.errors import ArgumentError, HfpcError, MissingExtraError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import AuthorizedSession

TRANSPORT_VARIABLE = "HFPC_GOOGLE_TRANSPORT"
"""`grpc` (the default) or `rest`, for networks that let no gRPC through."""

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_PERMISSION = re.compile(r"\baiplatform\.(?!googleapis\b)\w+\.\w+")
_WHERE = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST", "HOME")  # where they are looked for
_LONGEST = 600  # characters of a service's own text


def endpoint(api: str, location: str = "") -> str:
    """Base URL of a service.

    Args:
        api: Name of the service before `.googleapis.com`, e.g. "aiplatform" or "serviceusage".
        location: Region, for services that have an address in each, e.g. "us-central1".

    Returns:
        `https://…` without a slash at its end.

    Raises:
        ArgumentError: The address that the environment gives is no URL.
    """
    variable = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}"
    if given := os.environ.get(variable):
        if urlsplit(given).scheme not in ("http", "https") or not urlsplit(given).hostname:
            raise ArgumentError(variable, given, "set it to a URL, e.g. https://example.p.googleapis.com/, or unset it")
        return given.rstrip("/")
    return f"https://{location}-{api}.googleapis.com" if location else f"https://{api}.googleapis.com"


def credentials() -> "tuple[Credentials, str]":
    """The credentials of the environment, and the project that they name ("" for none).

    Raises:
        MissingExtraError: The extra `google` is not installed.
        ArgumentError: There are no credentials, or they cannot be read.
    """
    try:
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise MissingExtraError("google.auth", "google", "Google Cloud") from error
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    try:
        found, project = _found(*(os.environ.get(name, "") for name in _WHERE))
    except (GoogleAuthError, OSError) as error:
        fix = f"Google Cloud gives no credentials ({said(error)}): run `gcloud auth application-default login`"
        raise ArgumentError("GOOGLE_APPLICATION_CREDENTIALS", file, fix) from error
    return found, project or ""


@functools.lru_cache(maxsize=4)
def _found(*_: str) -> "tuple[Credentials, str | None]":
    """The credentials, read once: to check a service account's key takes longer than most calls do."""
    import google.auth

    found: tuple[Credentials, str | None] = google.auth.default(scopes=_SCOPES)
    return found


def project(given: str = "") -> str:
    """The project to work in: what is given, else `GOOGLE_CLOUD_PROJECT`, else what the credentials name.

    Raises:
        ArgumentError: None of them names a project.
        MissingExtraError: The extra `google` is not installed.
    """
    found = given or os.environ.get("GOOGLE_CLOUD_PROJECT", "") or _project_of_credentials()
    if not found:
        raise ArgumentError("project", given, "name the Google Cloud project, here or in GOOGLE_CLOUD_PROJECT")
    return found


def _project_of_credentials() -> str:
    try:
        return credentials()[1]
    except ArgumentError:  # whoever names a project next is told of it then: both at once would hide the first
        return ""


def client(name: str, location: str) -> Any:
    """A client of one of Vertex AI's services in a region.

    Args:
        name: A client class of `google.cloud.aiplatform_v1`, e.g. "ModelServiceClient".
        location: Region, e.g. "us-central1".

    Raises:
        MissingExtraError: The extra `google` is not installed.
        ArgumentError: There are no credentials, or the environment names no such transport.
    """
    try:
        from google.cloud import aiplatform_v1
    except ImportError as error:
        raise MissingExtraError("google.cloud.aiplatform", "google", "Vertex AI") from error
    transport = os.environ.get(TRANSPORT_VARIABLE) or "grpc"
    if transport not in ("grpc", "rest"):
        raise ArgumentError(TRANSPORT_VARIABLE, transport, "set it to grpc or rest")
    address = endpoint("aiplatform", location)
    # gRPC takes host and port; REST takes the scheme with them.
    options = {"api_endpoint": address if transport == "rest" else urlsplit(address).netloc}
    return getattr(aiplatform_v1, name)(credentials=credentials()[0], transport=transport, client_options=options)


def session() -> "AuthorizedSession":
    """An HTTP session that signs its requests, for services that are asked over plain REST.

    Raises:
        MissingExtraError: The extra `google` is not installed.
        ArgumentError: There are no credentials.
    """
    found, _ = credentials()
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(found)  # type: ignore[no-untyped-call]


def said(error: BaseException) -> str:
    """The text of an error of Google's authentication, whose second argument is only whether to try again."""
    return str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])


def may_pass(error: BaseException | None) -> bool:
    """Whether a request that failed so may succeed when it is made again; whether it was done is not known."""
    import requests  # type: ignore[import-untyped]
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError

    passing = (
        exceptions.Aborted,
        exceptions.BadGateway,
        exceptions.Cancelled,
        exceptions.GatewayTimeout,
        exceptions.InternalServerError,
        exceptions.RetryError,
        exceptions.ServiceUnavailable,
        exceptions.TooManyRequests,
        exceptions.Unknown,
        requests.ConnectionError,
        requests.Timeout,
        TransportError,
    )
    return isinstance(error, passing)


@contextmanager
def reaching(what: str, service: str = "Vertex AI") -> Iterator[None]:
    """Raises HfpcError, in one line and with its cause, for what Google's clients raise in the block.

    Args:
        what: What is being done, e.g. "registering tweets".
        service: The service that is asked.
    """
    try:
        yield
    except HfpcError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("google", "grpc", "requests", "urllib3"):
            raise
        text = " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())[:_LONGEST]
        raise HfpcError(f"{service} failed at {what}: {text}{_advice(error, text)}") from error


def _advice(error: Exception, text: str) -> str:
    from google.api_core import exceptions

    # A service that is switched off, or an account to act as, is refused in the same way.
    if isinstance(error, exceptions.Forbidden) and _PERMISSION.search(text):
        return " (whoever calls needs the role roles/aiplatform.user)"
    if isinstance(error, exceptions.TooManyRequests):
        return " (wait, or ask for more quota)"
    return ""
