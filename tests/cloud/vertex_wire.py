"""Vertex AI's wire: gRPC and REST, both over TLS, from one set of handlers.

Which methods there are, what they take and at which paths they are asked is read from the SDK's own tables. A
handler is a method of the API object with the method's name, from the SDK's request to its response.
"""

import asyncio
import contextlib
import importlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import grpc
import uvicorn
from google.api import httpbody_pb2
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.cloud.faults import Faults, Kind
from tests.cloud.vertex_names import numbered, numbered_request

SERVICES = ["Endpoint", "Job", "Metadata", "Model", "Pipeline", "Prediction", "Schedule"]
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
SILENCE_SECONDS = 0.2
"""How long a call that is not to be answered keeps its client waiting, unless the client gives up before."""


class VertexError(Exception):
    """An error that a client is to see.

    Args:
        status: Name of its canonical code.
        message: Its text.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api(Protocol):
    """What is behind the wire."""

    faults: Faults
    admits: Callable[[str], bool] | None
    unknown_requests: list[str]

    def GetOperation(self, name: str) -> operations_pb2.Operation: ...

    def ListOperations(self, name: str) -> operations_pb2.ListOperationsResponse: ...


@dataclass(frozen=True)
class _Rest:
    """One way to ask a method over HTTP; `body` is the field that the body fills, "*" for the whole request."""

    verb: str
    path: re.Pattern[str]
    body: str
    method: str


@cache
def _tables() -> tuple[dict[str, str], list[_Rest]]:
    """Full gRPC name to method, and the ways over HTTP."""
    names: dict[str, str] = {}
    ways: list[_Rest] = []
    for service in SERVICES:
        module = f"google.cloud.aiplatform_v1.services.{service.lower()}_service.transports.rest_base"
        base = getattr(importlib.import_module(module), f"_Base{service}ServiceRestTransport")
        for attribute, value in vars(base).items():
            method = attribute.removeprefix("_Base")
            if not hasattr(value, "_get_http_options") or not hasattr(v1, f"{method}Request"):
                continue
            names[f"/google.cloud.aiplatform.v1.{service}Service/{method}"] = method
            for way in value._get_http_options():
                ways.append(_Rest(way["method"].upper(), _pattern(way["uri"]), way.get("body", ""), method))
    return names, ways


def _pattern(uri: str) -> re.Pattern[str]:
    """`{model.name=projects/*/models/*}` matches what its value says; the group's name has `__` for a point."""

    def group(found: re.Match[str]) -> str:
        value = found[2].replace("**", ".+").replace("*", "[^/:]+")
        return f"(?P<{found[1].replace('.', '__')}>{value})"

    return re.compile(re.sub(r"\{([\w.]+)=([^}]*)\}", group, uri))


def call(api: Api, method: str, token: str, handle: Callable[[], Any]) -> Any:
    """Answers a call, or lets it go wrong as planned.

    Raises:
        VertexError: What the client is to see.
    """
    if api.admits is not None and not api.admits(token):
        raise VertexError("UNAUTHENTICATED", "Request had invalid authentication credentials.")
    fault = api.faults.next(method)
    if fault in ("error", "throttled"):
        raise _refusal(fault, method)
    if fault == "timeout":
        time.sleep(SILENCE_SECONDS)
        raise VertexError("DEADLINE_EXCEEDED", "Deadline Exceeded")
    if fault == "silent":  # unlike "timeout", which spares a sweep the client's own deadline
        api.faults.stay_silent()
        raise VertexError("FAILED_PRECONDITION", f"{method} was not given up, although nothing answered")
    response = handle()
    if fault == "lost":
        raise VertexError("UNAVAILABLE", "Socket closed")
    return response


def _refusal(kind: Kind, method: str) -> VertexError:
    if kind == "throttled":
        return VertexError("RESOURCE_EXHAUSTED", f"Quota exceeded for {method} requests per minute.")
    return VertexError("INTERNAL", f"Internal error encountered in {method}.")


class _Grpc(grpc.GenericRpcHandler):
    def __init__(self, api: Api) -> None:
        self._api = api

    def service(self, details: Any) -> Any:
        token = dict(details.invocation_metadata).get("authorization", "")
        service, _, method = details.method.rpartition("/")
        if service == "/google.longrunning.Operations" and method in ("GetOperation", "ListOperations"):
            handler = lambda request: getattr(self._api, method)(numbered(request.name))  # noqa: E731
            return grpc.unary_unary_rpc_method_handler(
                partial(self._answer, method, token, handler),
                getattr(operations_pb2, f"{method}Request").FromString,
                lambda message: message.SerializeToString(),
            )
        method = _tables()[0].get(details.method, "")
        if not hasattr(self._api, method or "-"):
            self._api.unknown_requests.append(details.method)
            return None  # gRPC says UNIMPLEMENTED
        return grpc.unary_unary_rpc_method_handler(
            partial(self._answer, method, token, lambda request: getattr(self._api, method)(numbered_request(request))),
            getattr(v1, f"{method}Request").deserialize,
            lambda message: getattr(message, "_pb", message).SerializeToString(),
        )

    def _answer(self, method: str, token: str, handler: Callable[[Any], Any], request: Any, context: Any) -> Any:
        try:
            return call(self._api, method, token, lambda: handler(request))
        except VertexError as error:
            context.abort(getattr(grpc.StatusCode, error.status), str(error))


def _rest_app(api: Api) -> Starlette:
    def answer(request: Request, body: bytes) -> Response:
        path, token = request.url.path, request.headers.get("authorization", "")
        if request.method == "GET" and "/operations" in path:
            resource = numbered(path[path.index("projects/") :])  # behind /v1/ or, as here, /ui/
            name, _, number = resource.partition("/operations")
            if number:
                return _json(call(api, "GetOperation", token, lambda: api.GetOperation(f"{name}/operations{number}")))
            return _json(call(api, "ListOperations", token, lambda: api.ListOperations(name)))
        for way in _tables()[1]:
            found = way.path.fullmatch(path) if way.verb == request.method and hasattr(api, way.method) else None
            if found:
                message = numbered_request(_message(way, found, request, body))
                return _json(call(api, way.method, token, lambda: getattr(api, way.method)(message)))  # noqa: B023
        api.unknown_requests.append(f"{request.method} {path}")
        raise VertexError("UNIMPLEMENTED", "this test Vertex AI does not know that request")

    async def route(request: Request) -> Response:
        body = await request.body()
        try:
            return await asyncio.to_thread(answer, request, body)
        except VertexError as error:
            code = HTTP_STATUS[error.status]
            content = {"error": {"code": code, "message": str(error), "status": error.status}}
            return JSONResponse(content, code)

    return Starlette(routes=[Route("/{rest:path}", route, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])])


def _message(way: _Rest, found: re.Match[str], request: Request, body: bytes) -> Any:
    """The SDK's request, from path, query and body."""
    message = getattr(v1, f"{way.method}Request")()
    try:
        _fill(message, way, found, request, body)
    except (json.JSONDecodeError, json_format.ParseError) as error:
        raise VertexError("INVALID_ARGUMENT", f"Invalid JSON payload received: {error}") from error
    return message


def _fill(message: Any, way: _Rest, found: re.Match[str], request: Request, body: bytes) -> None:
    if "http_body" in type(message).meta.fields:  # passed as it is
        content_type = request.headers.get("content-type", "")
        message.http_body = httpbody_pb2.HttpBody(content_type=content_type, data=body)
    elif way.body == "*":
        json_format.Parse(body or b"{}", message._pb)
    elif way.body:
        json_format.ParseDict({way.body: json.loads(body)}, message._pb)
    query = {name: value for name, value in request.query_params.items() if not name.startswith("$")}
    if query:
        json_format.ParseDict(query, message._pb)
    for field, value in found.groupdict().items():
        *path, last = field.split("__")
        place = message
        for step in path:
            place = getattr(place, step)
        setattr(place, last, value)


def _json(response: Any) -> Response:
    if isinstance(response, httpbody_pb2.HttpBody):
        return Response(response.data, media_type=response.content_type)
    message = getattr(response, "_pb", response)
    return JSONResponse(json_format.MessageToDict(message, use_integers_for_enums=True))


@contextlib.contextmanager
def served(api: Api, certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    """Serves in threads while the block runs; gives the addresses of gRPC and of REST, `127.0.0.1:PORT` each."""
    pair = [(key.read_bytes(), certificate.read_bytes())]
    grpc_server = grpc.server(futures.ThreadPoolExecutor(16))
    grpc_server.add_generic_rpc_handlers((_Grpc(api),))
    grpc_port = grpc_server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    grpc_server.start()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        _rest_app(api), log_level="warning", lifespan="off", ssl_certfile=certificate, ssl_keyfile=key
    )
    rest_server = uvicorn.Server(config)
    thread = threading.Thread(target=rest_server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not rest_server.started:
            time.sleep(0.01)
        yield f"127.0.0.1:{grpc_port}", f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        api.faults.clear()  # ends the silence of calls that are not answered
        # Clients keep connections open and do not answer to their end, which TLS would wait for.
        rest_server.should_exit = rest_server.force_exit = True
        grpc_server.stop(None).wait()
        thread.join()
        listener.close()
