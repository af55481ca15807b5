"""Google Cloud's REST services as the preflight asks them: with one token, each question once, and not for long."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfpc import google_cloud
from hfpc.errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

REQUEST_SECONDS = 5.0
"""Longest wait for one answer: these are small questions, which Google answers within a second."""

_CONNECTIONS = 32


class UncheckedError(Exception):
    """A check that cannot be done. Its text says why."""


class NoCredentialsError(UncheckedError):
    """A check that needs credentials, and there are none that work."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a service answered.

    Attributes:
        service: Host of the service.
        status: HTTP status.
        content: Its JSON; empty for none.
        headers: Its headers, whatever their case.
    """

    service: str
    status: int
    content: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        """The text of an error."""
        error = self.content.get("error")
        told = error.get("message") if isinstance(error, dict) else error
        return f"{self.service} answers {self.status}" + (f": {told}" if told else "")

    def get(self) -> dict[str, Any]:
        """The content of a good answer.

        Raises:
            UncheckedError: It is none.
        """
        if self.status != 200:
            raise UncheckedError(self.message)
        return self.content


class Google:
    """The services, asked for one project.

    Args:
        project: Project id.
        location: Region.
    """

    def __init__(self, project: str, location: str) -> None:
        self.project = project
        self.location = location
        self._lock = threading.Lock()
        self._known: dict[Any, Future[Any]] = {}

    def session(self) -> "AuthorizedSession":
        """A session whose token was fetched.

        Raises:
            NoCredentialsError: There are no credentials, or they get no token.
        """
        session: AuthorizedSession = self._once("session", _connected)
        return session

    def ask(self, method: str, base: str, path: str, **given: Any) -> Answer:
        """The answer of a service.

        Args:
            method: HTTP method.
            base: Address of the service.
            path: What is asked for, with the slash before it.
            **given: Passed to the request, e.g. `params`, `json`, `headers`.

        Raises:
            UncheckedError: There is no answer.
        """
        key = (method, base, path, repr(given))
        answer: Answer = self._once(key, lambda: send(self.session(), method, base, path, **given))
        return answer

    def get(self, api: str, path: str, params: Any = None) -> Answer:
        """The answer of `https://{api}.googleapis.com{path}`, or of where the environment says that it is."""
        return self.ask("GET", google_cloud.endpoint(api), path, params=params)

    def post(self, api: str, path: str, content: dict[str, Any]) -> Answer:
        """Like `get`, with JSON."""
        return self.ask("POST", google_cloud.endpoint(api), path, json=content)

    def storage(self, path: str, params: Any = None) -> Answer:
        """Like `get`, of Cloud Storage, whose address is also told by `STORAGE_EMULATOR_HOST`."""
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        base = emulator if not emulator or "://" in emulator else f"http://{emulator}"
        return self.ask("GET", base.rstrip("/") or google_cloud.endpoint("storage"), path, params=params)

    def project_number(self) -> str:
        """Number of the project (Resource Manager API).

        Raises:
            UncheckedError: It cannot be read.
        """
        return str(self.get("cloudresourcemanager", f"/v3/projects/{self.project}").get()["name"]).split("/")[-1]

    def permitted(self, principal: str, permission: str, resource: str) -> bool:
        """Whether somebody else has a permission (Policy Troubleshooter API).

        Args:
            principal: E-mail address.
            permission: E.g. "storage.objects.create".
            resource: Full resource name, e.g. "//storage.googleapis.com/projects/_/buckets/tweets".

        Raises:
            UncheckedError: It cannot be told, e.g. because the caller may not read every policy that counts.
        """
        asked = {"principal": principal, "permission": permission, "fullResourceName": resource}
        answer = self.post("policytroubleshooter", "/v1/iam:troubleshoot", {"accessTuple": asked}).get()
        access = answer.get("access")
        if access not in ("GRANTED", "NOT_GRANTED"):
            raise UncheckedError(f"Policy Troubleshooter cannot tell ({access})")
        return bool(access == "GRANTED")

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made by the first who asks while the others wait."""
        with self._lock:
            is_first = key not in self._known
            future = self._known.setdefault(key, Future())
        if is_first:
            try:
                future.set_result(make())
            except Exception as error:
                future.set_exception(error)
        return future.result()


def send(session: Any, method: str, base: str, path: str, **given: Any) -> Answer:
    """One request, without following redirects: a token is for the host it is sent to.

    Raises:
        UncheckedError: There is no answer.
    """
    import requests  # type: ignore[import-untyped]
    from google.auth.exceptions import GoogleAuthError

    service = urlsplit(base).netloc
    try:
        response = session.request(method, base + path, timeout=REQUEST_SECONDS, allow_redirects=False, **given)
    except requests.Timeout:
        raise UncheckedError(f"{service} does not answer within {REQUEST_SECONDS:.0f} s") from None
    except requests.RequestException as error:
        raise UncheckedError(f"{service} cannot be reached ({type(error).__name__})") from None
    except GoogleAuthError:  # the service refused the token, and there is no new one
        raise UncheckedError(f"{service} refuses the token") from None
    try:
        content = response.json() if response.content else {}
    except ValueError:
        content = {}
    content = content if isinstance(content, dict) else {}
    return Answer(service=service, status=response.status_code, content=content, headers=response.headers)


@contextmanager
def anonymous() -> Iterator[Any]:
    """A session without any credentials, for `send`."""
    import requests

    with requests.Session() as session:
        session.auth = _as_it_is
        yield session


def _as_it_is(request: Any) -> Any:
    """Signs nothing; without it requests looks for a password in ~/.netrc."""
    return request


def _connected() -> "AuthorizedSession":
    try:
        session = google_cloud.session()
    except ArgumentError as error:
        raise NoCredentialsError(google_cloud.said(error.__cause__ or error)) from None
    except MissingExtraError as error:
        raise NoCredentialsError(str(error)) from None
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from requests.adapters import HTTPAdapter  # type: ignore[import-untyped]

    try:
        session.credentials.refresh(Request())
    except GoogleAuthError as error:
        raise NoCredentialsError(f"they get no token ({google_cloud.said(error)})") from None
    for scheme in ("http://", "https://"):  # the default keeps fewer connections than there are checks, and warns
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session
