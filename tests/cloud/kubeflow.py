"""Kubeflow Pipelines on loopback: the REST API v2beta1 as kfp's client calls it.

It keeps what it is sent, checks it as the API server does, and runs nothing: a test executes what was uploaded. What it
does not know it refuses with 501 and records in `unknown_requests`. In front of it stands what stands for an
authenticating proxy: it wants a token or a cookie.
"""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.cloud.faults import Faults, Kind
from tests.cloud.kubeflow_objects import Objects
from tests.cloud.kubeflow_refusal import Refusal

TOKEN = "loopback-kubeflow-token"
COOKIE = "authservice_session=loopback-kubeflow-cookie"
PREFIX = "/pipeline"
"""Where the API lies behind the proxy, as in Kubeflow's own manifests."""

_ID = "(?P<id>[^/:]+)"
_ROUTES = [
    (re.compile(f"{method} /apis/{path}"), name)
    for method, path, name in (
        ("GET", "v2beta1/healthz", "Healthz"),
        ("POST", "v2beta1/experiments", "CreateExperiment"),
        ("GET", "v2beta1/experiments", "ListExperiments"),
        ("POST", "v2beta1/pipelines", "CreatePipeline"),
        ("GET", "v2beta1/pipelines", "ListPipelines"),
        ("POST", "v2beta1/pipelines/upload_version", "UploadPipelineVersion"),
        ("GET", f"v2beta1/pipelines/{_ID}/versions", "ListPipelineVersions"),
        ("POST", "v2beta1/runs", "CreateRun"),
        ("GET", "v2beta1/runs", "ListRuns"),
        ("GET", f"v2beta1/runs/{_ID}", "GetRun"),
        ("GET", f"v1alpha1/runs/{_ID}/nodes/(?P<node>[^/]+)/log", "ReadRunLog"),
        ("POST", "v2beta1/recurringruns", "CreateRecurringRun"),
        ("GET", "v2beta1/recurringruns", "ListRecurringRuns"),
        ("DELETE", f"v2beta1/recurringruns/{_ID}", "DeleteRecurringRun"),
        ("POST", f"v2beta1/recurringruns/{_ID}:enable", "EnableRecurringRun"),
        ("POST", f"v2beta1/recurringruns/{_ID}:disable", "DisableRecurringRun"),
    )
]


class Kubeflow(Objects):
    """The API server behind its proxy.

    Attributes:
        faults: Which calls go wrong, and which were made.
        unknown_requests: Method and path of requests that no route is for.
        login_page: Whether the proxy sends whoever is not logged in to a page, instead of refusing with 401.
        credentials: Kinds of credentials that requests came with: "token", "cookie" or "".
        token: The token that the proxy takes.
        url: Address for `--host`.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.url = ""
        super().__init__()

    def reset(self) -> None:
        """Forgets everything."""
        super().reset()
        self.faults.clear()
        self.unknown_requests: list[str] = []
        self.credentials: list[str] = []
        self.login_page = False
        self.token = TOKEN

    @contextlib.contextmanager
    def serve(self, certificate: Path | None = None, key: Path | None = None) -> Iterator["Kubeflow"]:
        """Serves in threads, on a free port, while the block runs; over TLS where a certificate is given."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.url = f"http{'s' * bool(certificate)}://127.0.0.1:{server.server_address[1]}{PREFIX}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> "Answer | None":
        """What a request is answered with; None ends the connection without an answer."""
        parts = urlsplit(target)
        if parts.path == "/login":
            return Answer(200, b"<html><form>Log in</form></html>", {"Content-Type": "text/html"})
        if not parts.path.startswith(f"{PREFIX}/"):
            return Answer(404, b"<html>Not Found</html>", {"Content-Type": "text/html"})
        if not self._is_known(headers):
            return Answer(302, b"", {"Location": "/login"}) if self.login_page else _refused(401, "Unauthorized")
        name, ids = _route(method, parts.path.removeprefix(PREFIX))
        if not name:
            self.unknown_requests.append(f"{method} {parts.path}")
            return _refused(501, f"The loopback does not know {method} {parts.path}")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        return self._with_fault(self.faults.next(name), lambda: self._do(name, ids, query, headers, body))

    def _is_known(self, headers: Any) -> bool:
        token = headers.get("Authorization") == f"Bearer {self.token}"
        cookie = headers.get("Cookie") == COOKIE
        self.credentials.append("token" if token else "cookie" if cookie else "")
        return token or cookie

    def _with_fault(self, fault: Kind | None, do: Callable[[], "Answer"]) -> "Answer | None":
        if fault in ("error", "throttled"):
            return _refused(*((503, "injected") if fault == "error" else (429, "Too many requests")))
        if fault == "silent":
            self.faults.stay_silent()
        done = do() if fault in ("lost", None) else None
        return None if fault else done

    def _do(self, name: str, ids: dict[str, str], query: dict[str, str], headers: Any, body: bytes) -> "Answer":
        given = {**ids, **query}
        if name == "UploadPipelineVersion":
            given["file"] = _uploaded(headers.get("Content-Type", ""), body)
        elif body:
            given["body"] = json.loads(body)
        try:
            done = getattr(self, name)(**given)
        except Refusal as refusal:
            return _refused(refusal.status, refusal.message)
        if isinstance(done, str):
            return Answer(200, done.encode(), {"Content-Type": "text/plain"})
        return Answer(200, json.dumps(done).encode(), {"Content-Type": "application/json"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or the second half of an answer waits for 40 ms

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = server.answer(self.command, self.path, self.headers, body)
                self.close_connection = answer is None
                if answer is None:
                    return
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = forward

            def log_message(self, *arguments) -> None:
                pass

        return Handler


class Answer:
    """Status, body and headers of a response."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers


def _route(method: str, path: str) -> tuple[str, dict[str, str]]:
    for pattern, name in _ROUTES:
        if found := pattern.fullmatch(f"{method} {path}"):
            return name, {key: unquote(value) for key, value in found.groupdict().items()}
    return "", {}


def _refused(status: int, message: str) -> Answer:
    content = {"error": message, "code": status, "message": message, "details": []}
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _uploaded(content_type: str, body: bytes) -> str:
    """Text of the file `uploadfile` in a multipart form."""
    from email import message_from_bytes

    form = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in form.get_payload():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return str(part.get_payload(decode=True).decode())
    raise AssertionError("the form has no uploadfile")
