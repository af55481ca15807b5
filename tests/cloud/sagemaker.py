"""Amazon SageMaker on loopback: moto, with containers that run behind its endpoints.

What moto has is moto's own: S3, STS, models, endpoint configurations, model packages, autoscaling, alarms.
`sagemaker_control` adds what it lacks of SageMaker's rules, `sagemaker_invocations` asks the server that stands for
the image of an endpoint's model, as SageMaker asks a container. Any call can be made to go wrong by `faults`.
"""

import base64
import contextlib
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug import Request, Response
from werkzeug.serving import make_server

from tests.cloud.faults import Faults, Kind
from tests.cloud.sagemaker_control import Control
from tests.cloud.sagemaker_invocations import Invocations
from tests.cloud.sagemaker_lag import LISTS, Lag
from tests.cloud.sagemaker_refusal import Refusal

INVOCATION = re.compile(
    r"/endpoints/(?P<name>[^/]+)/(?P<way>invocations|invocations-response-stream|async-invocations)"
)
INVOKE = {"invocations": "InvokeEndpoint", "async-invocations": "InvokeEndpointAsync"}
SIGNER = re.compile(r"Credential=(?P<key>[^/]+)/")
RPC = re.compile(r"/service/[^/]+/operation/(?P<operation>\w+)")


class _Handler(MotoRequestHandler):
    disable_nagle_algorithm = True  # or the second half of an answer waits for 40 ms

    def log_request(self, *arguments: Any) -> None:
        pass


class SageMaker:
    """SageMaker, S3 and whatever else moto has.

    Attributes:
        containers: Image to the address of the server that stands for its containers.
        faults: Which calls go wrong, and which were made. S3's are called `S3.GET`, `S3.PUT` and so on.
        control: What SageMaker does of its own accord; see there for how long it takes.
        lag: How far its answers are behind.
        callers: Access keys that requests were signed with.
        identities: Claims of the tokens that a role was taken on with.
        role_seconds: How long the keys of such a role are valid.
        url: Address for `AWS_ENDPOINT_URL`.
    """

    def __init__(self) -> None:
        self.containers: dict[str, str] = {}
        self.faults = Faults()
        self.control = Control(self.containers)
        self.lag = Lag()
        self.callers: set[str] = set()
        self.identities: list[dict[str, Any]] = []
        self.role_seconds = 3600
        self.url = ""
        self._invocations = Invocations(self.containers, self.control)
        self._moto = DomainDispatcherApplication(create_backend_app)

    @contextlib.contextmanager
    def serve(self) -> Iterator["SageMaker"]:
        """Serves in threads, on a free port, while the block runs."""
        server = make_server("127.0.0.1", 0, self._application, threaded=True, request_handler=_Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def reset(self) -> None:
        """Forgets everything, also what another object of this class made: moto's state is the process's."""
        moto_api_backend.reset()
        self.containers.clear()
        self.faults.clear()
        self.control.clear()
        self.lag.clear()
        self.callers.clear()
        self.identities.clear()
        self.role_seconds = 3600

    def _application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method = _method(environ)
        if signer := SIGNER.search(environ.get("HTTP_AUTHORIZATION", "")):
            self.callers.add(signer["key"])
        fault = self.faults.next(method)
        if fault in ("error", "throttled"):
            return _fault(method, fault)(environ, start_response)
        if fault == "timeout":
            return _no_answer(environ, start_response)
        answer = self._answer(method, environ)
        if fault == "lost":
            return _no_answer(environ, start_response)
        return answer(environ, start_response)

    def _answer(self, method: str, environ: dict[str, Any]) -> Response:
        request = Request(environ)
        invocation = INVOCATION.fullmatch(request.path)
        try:
            if invocation is not None:
                return self._invocations.answer(invocation["name"], invocation["way"], request)
            if method == "AssumeRoleWithWebIdentity":
                self._take_on(environ)
            own = getattr(self.control, method, None)
            if own is None and not (self.lag.answers and method in LISTS):
                return Response.from_app(self._moto, environ)
            body = json.loads(_body(environ) or b"{}")
            forward = partial(_forwarded, self._moto, environ)
            answer = self.lag.answer(method, body, partial(own, body, forward) if own else forward)
        except Refusal as refusal:
            return refusal.response()
        return Response(json.dumps(answer), 200, content_type="application/x-amz-json-1.1")

    def _take_on(self, environ: dict[str, Any]) -> None:
        """Looks at the token that a role is taken on with, as AWS does, but for its signature."""
        asked = parse_qs(_body(environ).decode())
        payload = asked["WebIdentityToken"][0].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if not claims["iss"].startswith("https://") or claims["exp"] < time.time():
            text = "<Error><Code>InvalidIdentityToken</Code><Message>The token is not valid.</Message></Error>"
            refused = Response(f"<ErrorResponse>{text}</ErrorResponse>", 400, content_type="text/xml")
            raise Refusal("", "", refused)
        self.identities.append(claims)
        body = environ["wsgi.input"].getvalue() + f"&DurationSeconds={self.role_seconds}".encode()
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


def _method(environ: dict[str, Any]) -> str:
    """Name of the operation that a request asks for."""
    if target := environ.get("HTTP_X_AMZ_TARGET", ""):
        return target.rpartition(".")[2]
    path = environ["PATH_INFO"]
    if invocation := INVOCATION.fullmatch(path):
        return INVOKE.get(invocation["way"], invocation["way"])
    if rpc := RPC.fullmatch(path):
        return rpc["operation"]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(_body(environ).decode()).get("Action", ["?"])[0]
    return f"S3.{environ['REQUEST_METHOD']}"


def _body(environ: dict[str, Any]) -> bytes:
    """The body of a request, which can be read again afterwards."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _forwarded(moto: Any, environ: dict[str, Any]) -> dict[str, Any]:
    """What moto answers; an error of it goes to the client as it is."""
    answer = Response.from_app(moto, environ)
    if answer.status_code >= 400:
        raise Refusal("", "", answer)
    content: dict[str, Any] = json.loads(answer.get_data() or b"{}")
    return content


def _fault(method: str, kind: Kind) -> Response:
    """A refusal, as the service of the method words it."""
    if method.startswith("S3."):
        status, code = (503, "SlowDown") if kind == "throttled" else (403, "AccessDenied")
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
        return Response(text, status, content_type="application/xml")
    code = "ThrottlingException" if kind == "throttled" else "AccessDeniedException"
    if method.startswith("AssumeRole") or method == "GetCallerIdentity":
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>injected</Message></Error>"
        return Response(f"<ErrorResponse>{error}</ErrorResponse>", 400, content_type="text/xml")
    return Refusal(code, "injected").response()


def _no_answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Ends the connection."""
    with contextlib.suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return Response(b"", 500)(environ, start_response)
