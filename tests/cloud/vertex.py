"""Vertex AI on loopback: what asking an endpoint for predictions needs, over REST and TLS.

A method of the API is a method of `Vertex` of the same name, from the SDK's own request to its response, and
a line in `REST`. Any other request is answered 501 and kept, so that a client that starts to need more is
noticed. Predictions are asked of the server that stands for the deployed model's container.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from google.api import httpbody_pb2
from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PARENT = "projects/test/locations/us-central1"
REST = {
    "RawPredict": ("POST", "/v1/{endpoint:path}:rawPredict"),
    "Predict": ("POST", "/v1/{endpoint:path}:predict"),
    "GetEndpoint": ("GET", "/v1/{name:path}"),
}
"""Method to its HTTP method and path, whose placeholders are fields of its request."""

HTTP_STATUS = {"FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "INTERNAL": 500}


class VertexError(Exception):
    """An error that a client is to see.

    Args:
        status: Name of its canonical code.
        message: Its text.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Vertex:
    """The endpoints, and the servers behind them.

    Attributes:
        endpoints: Resource name to endpoint.
        containers: Id of a deployed model to the address that its predictions are asked at.
        unknown_requests: What was answered 501.
        address: Host and port, for `api_endpoint` behind `https://`.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, v1.Endpoint] = {}
        self.containers: dict[str, str] = {}
        self.unknown_requests: list[str] = []
        self.address = ""

    def deploy(self, number: str, container: str, *, dedicated: bool = False) -> str:
        """Makes an endpoint of one deployed model; returns its resource name.

        Args:
            number: Id of the endpoint and of what it holds.
            container: Address of the predict route of the model's server.
            dedicated: Whether clients ask at the endpoint's own DNS name instead of the region's.
        """
        deployed = v1.DeployedModel(id=number, model=f"{PARENT}/models/{number}", model_version_id="1")
        endpoint = v1.Endpoint(name=f"{PARENT}/endpoints/{number}", display_name=number, deployed_models=[deployed])
        if dedicated:
            endpoint.dedicated_endpoint_enabled = True
            endpoint.dedicated_endpoint_dns = self.address
        self.endpoints[endpoint.name] = endpoint
        self.containers[number] = container
        return endpoint.name

    async def GetEndpoint(self, request: v1.GetEndpointRequest) -> v1.Endpoint:
        if request.name not in self.endpoints:
            raise VertexError("NOT_FOUND", f"{request.name} is not found.")
        return self.endpoints[request.name]

    async def Predict(self, request: v1.PredictRequest) -> v1.PredictResponse:
        """The container is asked in JSON; both ways pass through protobuf, which knows no whole numbers."""
        content: dict[str, Any] = {"instances": [json_format.MessageToDict(value) for value in request._pb.instances]}
        if request._pb.HasField("parameters"):
            content["parameters"] = json_format.MessageToDict(request._pb.parameters)
        deployed = await self._deployed(request.endpoint)
        answer = await self._ask(deployed, json.dumps(content).encode(), "application/json")
        response = v1.PredictResponse(
            deployed_model_id=deployed.id, model=deployed.model, model_version_id=deployed.model_version_id
        )
        json_format.ParseDict({"predictions": answer.json()["predictions"]}, response._pb)
        return response

    async def RawPredict(self, request: v1.RawPredictRequest) -> httpbody_pb2.HttpBody:
        body = request.http_body
        answer = await self._ask(await self._deployed(request.endpoint), body.data, body.content_type)
        return httpbody_pb2.HttpBody(content_type=answer.headers["content-type"], data=answer.content)

    async def _deployed(self, endpoint: str) -> v1.DeployedModel:
        return (await self.GetEndpoint(v1.GetEndpointRequest(name=endpoint))).deployed_models[0]

    async def _ask(self, deployed: v1.DeployedModel, body: bytes, content_type: str) -> httpx.Response:
        """The answer of a model's container; its errors are the endpoint's."""
        async with httpx.AsyncClient(timeout=60) as client:
            asked = self.containers[deployed.id]
            answer = await client.post(asked, content=body, headers={"Content-Type": content_type})
        if answer.is_client_error:
            raise VertexError("FAILED_PRECONDITION", answer.text)
        if answer.is_error:
            raise VertexError("UNAVAILABLE" if answer.status_code == 503 else "INTERNAL", answer.text)
        return answer

    def app(self) -> Starlette:
        known = [Route(path, self._rest(method), methods=[verb]) for method, (verb, path) in REST.items()]
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[*known, Route("/{rest:path}", self._unknown, methods=every)])

    @contextlib.contextmanager
    def serve(self, certificate: Path, key: Path) -> Iterator["Vertex"]:
        """Serves in a thread, on a free port, while the block runs."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self.app(), log_level="warning", lifespan="off", ssl_certfile=certificate, ssl_keyfile=key
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield self
        finally:
            server.should_exit = True
            thread.join()
            listener.close()

    def _rest(self, method: str) -> Callable[[Request], Awaitable[Response]]:
        """Takes a method's request from HTTP, and puts its response there."""
        handler, request_class = getattr(self, method), getattr(v1, f"{method}Request")

        async def answer(request: Request) -> Response:
            body, message = await request.body(), request_class()
            if "http_body" in request_class.meta.fields:  # passed as it is
                content_type = request.headers.get("content-type", "")
                message.http_body = httpbody_pb2.HttpBody(content_type=content_type, data=body)
            elif body:
                json_format.Parse(body, message._pb)
            for field, value in request.path_params.items():
                setattr(message, field, value)
            try:
                response = await handler(message)
            except VertexError as error:
                return _error(error)
            if isinstance(response, httpbody_pb2.HttpBody):
                return Response(response.data, media_type=response.content_type)
            content = json_format.MessageToDict(response._pb, use_integers_for_enums=True)
            return JSONResponse(content)

        return answer

    async def _unknown(self, request: Request) -> Response:
        self.unknown_requests.append(f"{request.method} {request.url.path}")
        return _error(VertexError("UNIMPLEMENTED", "this test Vertex AI does not know that request"))


def _error(error: VertexError) -> Response:
    code = HTTP_STATUS[error.status]
    return JSONResponse({"error": {"code": code, "message": str(error), "status": error.status}}, code)
