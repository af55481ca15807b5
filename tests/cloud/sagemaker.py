"""Amazon SageMaker on loopback: moto, with containers that run behind its endpoints.

Models, endpoint configurations and endpoints are moto's own. What moto would answer an invocation with was
put there by the test; here `InvokeEndpoint` is forwarded to the server that stands for the image of the
endpoint's model, as SageMaker asks a container. Asynchronous and streamed invocations, and endpoints with
more than one variant, are refused with 501.
"""

import contextlib
import json
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sagemaker.models import sagemaker_backends
from werkzeug import Request, Response
from werkzeug.serving import make_server

REGION = "us-east-1"
INVOCATION = re.compile(
    r"/endpoints/(?P<name>[^/]+)/(?P<way>invocations|invocations-response-stream|async-invocations)"
)
FORWARDED = ("accept", "content-type", "x-amzn-sagemaker-custom-attributes")


class SageMaker:
    """SageMaker, S3 and whatever else moto has.

    Attributes:
        containers: Image to the address of the server that stands for its containers.
        url: Address for `AWS_ENDPOINT_URL`.
    """

    def __init__(self) -> None:
        self.containers: dict[str, str] = {}
        self.url = ""
        self._moto = DomainDispatcherApplication(create_backend_app)

    @contextlib.contextmanager
    def serve(self) -> Iterator["SageMaker"]:
        """Serves in threads, on a free port, while the block runs."""
        server = make_server("127.0.0.1", 0, self._application, threaded=True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        invocation = INVOCATION.fullmatch(request.path)
        if invocation is None:
            return self._moto(environ, start_response)
        if invocation["way"] != "invocations":
            answer = _error(501, "NotImplemented", f"{invocation['way']} is not known to this test SageMaker")
        else:
            answer = self._invoke(invocation["name"], request)
        return answer(environ, start_response)

    def _invoke(self, name: str, request: Request) -> Response:
        """What SageMaker answers an invocation with, from the answer of the endpoint's container."""
        backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION]
        endpoint = backend.endpoints.get(name)
        if endpoint is None:
            return _error(400, "ValidationError", f"Endpoint {name} of account {DEFAULT_ACCOUNT_ID} not found.")
        variants = backend.describe_endpoint_config(endpoint.endpoint_config_name)["ProductionVariants"]
        if len(variants) != 1:
            return _error(501, "NotImplemented", "this test SageMaker knows no traffic between variants")
        image = backend.describe_model(variants[0]["ModelName"]).primary_container["Image"]
        if image not in self.containers:
            return _error(501, "NotImplemented", f"no container runs for {image}: give its address in `containers`")
        headers = {key: value for key, value in request.headers.items() if key.lower() in FORWARDED}
        asked = f"{self.containers[image]}/invocations"
        answer = httpx.post(asked, content=request.get_data(), headers=headers, timeout=60)
        if answer.is_error:
            return _model_error(answer)
        passed = {"x-Amzn-Invoked-Production-Variant": variants[0]["VariantName"]}
        return Response(answer.content, 200, passed, content_type=answer.headers["content-type"])


def _model_error(answer: httpx.Response) -> Response:
    """A container's error, as clients of the endpoint see it."""
    whose = "client" if answer.is_client_error else "server"
    message = f'Received {whose} error ({answer.status_code}) from primary with message "{answer.text}".'
    original = {"OriginalStatusCode": answer.status_code, "OriginalMessage": answer.text}
    return _error(424, "ModelError", message, **original)


def _error(status: int, code: str, message: str, **more: Any) -> Response:
    body = json.dumps({"Message": message, **more})
    return Response(body, status, {"x-amzn-errortype": code}, content_type="application/json")
