"""Invocations of endpoints: the server that stands for the image of an endpoint's model is asked."""

import uuid
from typing import Any

import httpx
from moto.core import DEFAULT_ACCOUNT_ID
from werkzeug import Request, Response

from tests.cloud import sagemaker_containers
from tests.cloud.sagemaker_control import Control
from tests.cloud.sagemaker_refusal import Refusal
from tests.cloud.sagemaker_transforms import read, write

FORWARDED = ("accept", "content-type", "x-amzn-sagemaker-custom-attributes")


class Invocations:
    """Real-time and asynchronous invocations. Streams, and traffic between variants, are refused with 501."""

    def __init__(self, containers: dict[str, str], control: Control) -> None:
        self._containers, self._control = containers, control

    def answer(self, name: str, way: str, request: Request) -> Response:
        """What SageMaker answers an invocation with."""
        config = self._config(name)
        variants = config["ProductionVariants"]
        if way == "invocations-response-stream":
            raise Refusal("NotImplemented", f"{way} is not known to this test SageMaker", status=501)
        if len(variants) != 1:
            raise Refusal("NotImplemented", "this test SageMaker knows no traffic between variants", status=501)
        asynchronous = config.get("AsyncInferenceConfig")
        if bool(asynchronous) != (way == "async-invocations"):
            kind = "an asynchronous" if asynchronous else "no asynchronous"
            raise Refusal("ValidationError", f"Endpoint {name} is {kind} endpoint.")
        if asynchronous:
            return self._later(variants[0], asynchronous, request)
        given = self._ask(variants[0], request.get_data(), request)
        if given.is_error:
            raise _model_error(given)
        passed = {"x-Amzn-Invoked-Production-Variant": variants[0]["VariantName"]}
        return Response(given.content, 200, passed, content_type=given.headers["content-type"])

    def _config(self, name: str) -> dict[str, Any]:
        serving = self._control.serving(name)
        if not serving:
            raise Refusal("ValidationError", f"Endpoint {name} of account {DEFAULT_ACCOUNT_ID} not found.")
        config: dict[str, Any] = self._control.backend.describe_endpoint_config(serving)
        return config

    def _later(self, variant: dict[str, Any], config: dict[str, Any], request: Request) -> Response:
        """Reads the input from S3 and writes the answer, or the error, there: before it tells so, not after."""
        number = request.headers.get("x-amzn-sagemaker-inference-id") or str(uuid.uuid4())
        output = config["OutputConfig"]
        done = f"{output['S3OutputPath'].rstrip('/')}/{number}.out"
        failed = f"{output.get('S3FailurePath', output['S3OutputPath']).rstrip('/')}/{number}-error.out"
        if not self._control.idle:
            given = self._ask(variant, read(request.headers["x-amzn-sagemaker-inputlocation"]), request)
            write(failed if given.is_error else done, given.content)
        places = {"X-Amzn-SageMaker-OutputLocation": done, "X-Amzn-SageMaker-FailureLocation": failed}
        return Response(f'{{"InferenceId": "{number}"}}', 202, places, content_type="application/json")

    def _ask(self, variant: dict[str, Any], body: bytes, request: Request) -> httpx.Response:
        image = self._control.backend.describe_model(variant["ModelName"]).primary_container["Image"]
        if image not in self._containers:
            message = f"no container runs for {image}: give its address in `containers`"
            raise Refusal("NotImplemented", message, status=501)
        headers = {key: value for key, value in request.headers.items() if key.lower() in FORWARDED}
        if content_type := request.headers.get("x-amzn-sagemaker-content-type"):
            headers["content-type"] = content_type
        return sagemaker_containers.invoke(self._containers[image], body, headers)


def _model_error(answer: httpx.Response) -> Refusal:
    """A container's error, as clients of the endpoint see it."""
    whose = "client" if answer.is_client_error else "server"
    message = f'Received {whose} error ({answer.status_code}) from primary with message "{answer.text}".'
    original = {"OriginalStatusCode": answer.status_code, "OriginalMessage": answer.text}
    return Refusal("ModelError", message, status=424, **original)
