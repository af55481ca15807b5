"""Kubeflow Pipelines through kfp's own client: credentials, requests that bear to fail, readable errors.

The requests go through the generated methods that `kfp.Client` offers beside its own: these take a time limit, and do
not print.
"""

import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.patience import Patience

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
"""kfp's own variable for the address."""
TOKEN_VARIABLE = "HFPC_KUBEFLOW_TOKEN"  # noqa: S105
COOKIE_VARIABLE = "HFPC_KUBEFLOW_COOKIE"
POD_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
"""kfp's own variable for the file of a pod's service account token."""
AUTHORITY_VARIABLE = "SSL_CERT_FILE"
"""OpenSSL's own variable for a file of certificate authorities, for a cluster that has its own."""

TIMEOUT = 60
"""Whole seconds for one answer, as the client's own default is to wait for ever; a pipeline may have megabytes."""

PATIENCE = Patience(attempts=5, retry=0.5, total=180.0)
"""How often a request is made; in all at most three minutes, as urllib3 itself reads four times before it gives up."""

_POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105
_POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_HOST = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_LONGEST = 600  # characters of the server's own text
_ANOTHER = f"give another with --existing-token-file FILE, ${TOKEN_VARIABLE} or ${COOKIE_VARIABLE}"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a Kubeflow Pipelines is, and who asks.

    Attributes:
        host: Address of its API and console, e.g. "https://kubeflow.example.com/pipeline"; "" for the one in
            `KF_PIPELINES_ENDPOINT`. After construction it is never "" and has no `/` at the end.
        namespace: The user's namespace where each user has one; "" for that of kfp's settings or of the pod.
        token_file: File with a bearer token, read anew for each request; "" for what the environment or the pod has.
    """

    host: str = ""
    namespace: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        host = (self.host or os.environ.get(HOST_VARIABLE, "")).rstrip("/")
        if not _HOST.fullmatch(host):
            fix = f"give an address, e.g. https://kubeflow.example.com/pipeline, here or in ${HOST_VARIABLE}"
            raise ArgumentError("host", host, fix)
        object.__setattr__(self, "host", host)
        if self.namespace and not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", self.namespace):
            raise ArgumentError("namespace", self.namespace, "give the name of a Kubernetes namespace")


class RequestError(HfpcError):
    """A request that Kubeflow refused or did not answer.

    Args:
        message: What to tell.
        status: HTTP status; 0 where there was no answer.
        is_transient: Whether the same request may work in a moment; whether it was done is not known.
    """

    def __init__(self, message: str, status: int, is_transient: bool) -> None:
        super().__init__(message)
        self.status = status
        self.is_transient = is_transient


class Server:
    """A Kubeflow Pipelines that was asked for its health, and answered.

    Args:
        address: Where it is, and who asks.
        timeout: Whole seconds for one answer.

    Attributes:
        client: kfp's client.
        namespace: The user's namespace; None where there are none.

    Raises:
        ArgumentError: The namespace is missing or too much, or a credential cannot be used.
        HfpcError: It does not answer, refuses, or is no Kubeflow Pipelines.
    """

    def __init__(self, address: Address, timeout: int = TIMEOUT) -> None:
        self.host = address.host
        self.timeout = timeout
        self._credential, arguments = _credential(address.token_file)
        pod = Path(_POD_NAMESPACE)
        own = address.namespace or (pod.read_text("utf-8").strip() if pod.is_file() else "")
        what = f"reaching Kubeflow Pipelines at {self.host}"
        self.client: Any = self.retried(what, lambda: _client(self.host, own, timeout, arguments))
        health = self.retried(what, self.client.get_kfp_healthz)
        if health.multi_user and not (own or self.client.get_user_namespace()):
            raise ArgumentError("namespace", "", f"at {self.host} each user has a namespace: give yours")
        if address.namespace and not health.multi_user:
            fix = f"users of {self.host} have no namespaces of their own: leave it out"
            raise ArgumentError("namespace", address.namespace, fix)
        self.namespace: str | None = (own or self.client.get_user_namespace()) if health.multi_user else None

    @property
    def api_client(self) -> Any:
        """What sends the requests of kfp's client, for a request that it has no method for."""
        return self.client.runs.run_service_get_run.__self__.api_client

    def retried(self, what: str, ask: Callable[[], Any]) -> Any:
        """What a request answers, asked again after an error that may pass. It must bear being done twice.

        Args:
            what: What is being done, for the message.
            ask: Asks.

        Raises:
            HfpcError: It is refused, or failed at every try.
        """
        return self._tried(what, ask, lambda: None)

    def once(self, what: str, find: Callable[[], Any], create: Callable[[], Any]) -> tuple[Any, bool]:
        """What is found, else what is created: after each failure it is looked for before it is created again.

        Args:
            what: What is being created, for the message.
            find: Looks for it; None where it is not there.
            create: Creates it.

        Returns:
            The object, and whether it is new.

        Raises:
            HfpcError: It is refused, or failed at every try.
        """
        there = self.retried(what, find)
        if there is not None:
            return there, False
        return self._tried(what, create, lambda: self.retried(what, find)), True

    def all(self, what: str, key: str, ask: Callable[..., Any]) -> list[Any]:
        """All objects of a list that comes in pages.

        Args:
            what: What is being done, for the message.
            key: Name of the list in an answer, e.g. "runs".
            ask: Asks for the page with the `page_token` that it is given.
        """
        found: list[Any] = []
        token = ""
        while True:
            page = self.retried(what, partial(ask, page_token=token, page_size=100, _request_timeout=self.timeout))
            found += getattr(page, key) or []
            token = page.next_page_token
            if not token:
                return found

    @contextmanager
    def readable(self, what: str) -> Iterator[None]:
        """Turns what kfp's client raises inside the block into a `RequestError`.

        Args:
            what: What is being done, for the message.
        """
        from kfp_server_api import ApiException, OpenApiException  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError, NameResolutionError
        from urllib3.exceptions import SSLError as TlsError

        try:
            yield
            self._refuse_page()
        except ApiException as error:
            status = int(error.status or 0)
            raise RequestError(f"{what}: {self._words(status, error)}", status, status in _TRANSIENT) from error
        except HTTPError as error:
            cause = getattr(error, "reason", None) or error
            final = isinstance(cause, NameResolutionError | TlsError)
            raise RequestError(f"{what}: no answer from {self.host}: {_one_line(str(cause))}", 0, not final) from error
        except (OpenApiException, OSError, _PageError) as error:
            raise RequestError(f"{what}: {_one_line(str(error))}", 0, False) from error

    def _tried(self, what: str, ask: Callable[[], Any], find: Callable[[], Any]) -> Any:
        start = time.monotonic()
        for attempt in PATIENCE.retries():
            try:
                with self.readable(what):
                    return ask()
            except RequestError as error:
                if (there := find()) is not None:
                    return there
                is_over = attempt == PATIENCE.attempts or time.monotonic() - start > PATIENCE.total
                if is_over or not error.is_transient:
                    raise
        raise AssertionError("the last try returns or raises")

    def _refuse_page(self) -> None:
        """Refuses a page, e.g. to log in, which kfp's client takes for an answer that says nothing."""
        response = self.api_client.last_response if hasattr(self, "client") else None
        if response is not None and "html" in (response.getheader("Content-Type") or ""):
            raise _PageError(f"{self.host} answers with a page, e.g. to log in ({self._credential}): {_ANOTHER}")

    def _words(self, status: int, error: Any) -> str:
        text = _message(error)
        if status == 401:
            return f"{self.host} does not know the caller ({self._credential}): {_ANOTHER}"
        if status == 403:
            return f"{self.host} refuses it to the caller ({self._credential}): {text}; {_ANOTHER}"
        if status == 404 and not _is_json(error):
            return f"there is no Kubeflow Pipelines at {self.host}: give its whole address, often https://HOST/pipeline"
        return f"Kubeflow says {status or 'nothing'}: {text}"


def named(name: str) -> str:
    """The filter for objects of a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


class _PageError(Exception):
    """The answer is a page for people."""


def _client(host: str, namespace: str, timeout: int, arguments: dict[str, Any]) -> Any:
    import kfp

    class Client(kfp.Client):  # type: ignore[misc]
        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            """Asks once, in time: kfp's own method tries five times and prints stack traces."""
            return self.healthzs.healthz_service_get_healthz(_request_timeout=timeout)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        authority = os.environ.get(AUTHORITY_VARIABLE) or None
        return Client(host, namespace=namespace or "kubeflow", ssl_ca_cert=authority, **arguments)


def _credential(token_file: str) -> tuple[str, dict[str, Any]]:
    """Which credential is used, in words, and the arguments of kfp's client for it."""
    from kfp.client import set_volume_credentials

    pod_token = os.environ.get(POD_TOKEN_VARIABLE) or _POD_TOKEN
    if token_file:
        try:
            content = Path(token_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError("existing_token_file", token_file, f"it cannot be read ({error})") from error
        _check_header(content, f"the token in {token_file}")
        credentials = set_volume_credentials.ServiceAccountTokenVolumeCredentials(token_file)
        return f"the token in {token_file}", {"credentials": credentials}
    if token := os.environ.get(TOKEN_VARIABLE):
        return f"the token in ${TOKEN_VARIABLE}", {"existing_token": _check_header(token, f"${TOKEN_VARIABLE}")}
    if cookies := os.environ.get(COOKIE_VARIABLE):
        return f"the cookie in ${COOKIE_VARIABLE}", {"cookies": _check_header(cookies, f"${COOKIE_VARIABLE}")}
    if Path(pod_token).is_file():
        credentials = set_volume_credentials.ServiceAccountTokenVolumeCredentials(pod_token)
        return f"the pod's service account token in {pod_token}", {"credentials": credentials}
    return "without a credential", {}


def _check_header(value: str, where: str) -> str:
    """The value without spaces at its ends; nothing of it is shown where it cannot be a header."""
    value = value.strip()
    if not value or not value.isprintable() or not value.isascii():
        raise HfpcError(f"{where} is empty or holds more than one line: it must be what follows 'Bearer' or 'Cookie:'")
    return value


def _message(error: Any) -> str:
    """What the server says, which it says in several ways."""
    try:
        body = json.loads(error.body or "")
        text = body.get("message") or body.get("error_message") or body.get("error") or ""
    except (ValueError, AttributeError):
        text = error.reason or ""
    return _one_line(str(text)) or "nothing more"


def _is_json(error: Any) -> bool:
    return "json" in (error.headers or {}).get("Content-Type", "")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
