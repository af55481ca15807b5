"""Asking endpoints of SageMaker, at once or by way of S3, and the golden requests of what they serve."""

import json
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from hfpc import aws, golden, tasks
from hfpc.errors import DataError, EndpointError
from hfpc.serving.client import INPUTS_PER_REQUEST
from hfpc.sinks import sagemaker_images
from hfpc.sinks.sagemaker_calls import Place, line
from hfpc.sinks.sagemaker_staging import bucket_and_key

_JSON = "application/json"
_LARGEST = 16 << 20


@dataclass(frozen=True)
class Golden:
    """The golden requests of a model, the task they are of, and the parameters that the container needs with them."""

    task: tasks.Task
    requests: list[dict[str, Any]]
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Any]:
        """What is sent."""
        return [request["inputs"] for request in self.requests]

    def check(self, endpoint: str, responses: Sequence[Any]) -> None:
        """Raises EndpointError where an answer differs from when the model was made."""
        different = list(dict.fromkeys(golden.differences(self.task, self.requests, responses)))
        if different:
            listed = "; ".join(different)
            raise EndpointError(f"endpoint {endpoint} does not answer as the model did when it was made: {listed}")


@dataclass(frozen=True)
class Completion:
    """A short text that is asked of a model in vLLM: whether it is right nobody noted, but it has to come."""

    prompt: str = "Hello"
    tokens: int = 8

    @property
    def inputs(self) -> list[Any]:
        """What is sent."""
        return [self.prompt]

    @property
    def parameters(self) -> dict[str, Any]:
        """What is sent with it; at least so many tokens, as the first one could be what ends a text."""
        return {"max_tokens": self.tokens, "min_tokens": self.tokens, "temperature": 0}

    def check(self, endpoint: str, responses: Sequence[Any]) -> None:
        """Raises EndpointError where no text has come."""
        if not responses[0][0]["generated_text"]:
            raise EndpointError(f"endpoint {endpoint} generates no text: it answered {self.prompt!r} with nothing")


def expected_of(place: Place, model_data: str, task: str, family: str) -> Golden | Completion | None:
    """What a model is asked before it serves; None where nothing is known that it could be asked.

    Args:
        place: The region.
        model_data: Where the model is, `s3://…`.
        task: Task of the model.
        family: Family of the container that is asked.

    Raises:
        DataError: There are no golden requests although the task has them.
    """
    if family == sagemaker_images.VLLM:
        return Completion()
    return golden_requests(place, model_data, task, family)


def golden_requests(place: Place, model_data: str, task: str, family: str) -> Golden | None:
    """The golden requests in a model's folder or archive on S3; None for tasks that have none.

    Args:
        place: The region.
        model_data: Where the model is, `s3://…`.
        task: Task of the model.
        family: Family of the container that is asked.

    Raises:
        DataError: There are none although the task has them.
    """
    if task not in tasks.names():
        return None
    bucket, key = bucket_and_key(model_data)
    if key.endswith(".tar.gz"):
        content = _from_archive(place, bucket, key)
    else:
        content = read(place, f"s3://{bucket}/{key}/{golden.FILE_NAME}")
    try:
        requests = json.loads(content or b"[]")
    except ValueError as error:
        raise DataError(
            f"{golden.FILE_NAME} in {model_data} cannot be read ({error}): register the model again"
        ) from error
    if not requests:
        fix = "fine-tune the model again to make its golden requests"
        raise DataError(f"{model_data} has no {golden.FILE_NAME}, or an empty one: {fix}")
    return Golden(tasks.get(task), requests, sagemaker_images.request_parameters(family, task))


def _from_archive(place: Place, bucket: str, key: str) -> bytes | None:
    """`golden.json` of an archive, whose weights come after it and are not read."""
    found = place.found(place.s3.get_object, Bucket=bucket, Key=key)
    if found is None:
        return None
    with closing(found["Body"]) as body, tarfile.open(fileobj=body, mode="r|gz") as tar:
        for entry in tar:
            if entry.name == golden.FILE_NAME and (stream := tar.extractfile(entry)) is not None:
                return stream.read(_LARGEST)
    return None


def check_golden(
    place: Place, endpoint: str, expected: Golden | Completion | None, output_uri: str = "", kms_key: str = ""
) -> None:
    """Sends the golden requests to an endpoint, or asks one of vLLM for a short text.

    Raises:
        EndpointError: An answer differs from when the model was made, has another form, or is empty.
    """
    if expected is None:
        print(f"{endpoint} is healthy; its task has no golden requests to send", flush=True)
        return
    send = complete if isinstance(expected, Completion) else ask
    given = send(place, endpoint, expected.inputs, expected.parameters, output_uri=output_uri, kms_key=kms_key)
    expected.check(endpoint, given)


def ask(
    place: Place,
    endpoint: str,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    output_uri: str = "",
    kms_key: str = "",
) -> list[Any]:
    """A response for each input.

    Args:
        place: The region.
        endpoint: Name of the endpoint.
        inputs: Inputs of the model's task.
        parameters: Parameters of the task.
        output_uri: For an async endpoint, `s3://…` below which inputs are put; "" for others.
        kms_key: KMS key that encrypts them there; "" for the bucket's own encryption.

    Raises:
        EndpointError: The endpoint refused, or answered in another form.
    """
    responses: list[Any] = []
    for part in _parts(inputs):
        content: dict[str, Any] = {"inputs": part}
        if parameters:
            content["parameters"] = dict(parameters)
        responses += _responses(endpoint, _answer(place, endpoint, content, output_uri, kms_key), len(part))
    return responses


def complete(
    place: Place,
    endpoint: str,
    prompts: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    output_uri: str = "",
    kms_key: str = "",
) -> list[Any]:
    """A text for each prompt from an endpoint of vLLM, which takes completions in OpenAI's form.

    Args:
        place: The region.
        endpoint: Name of the endpoint.
        prompts: Texts to go on with.
        parameters: Parameters of completions, e.g. `{"max_tokens": 64}`.
        output_uri: For an async endpoint, `s3://…` below which prompts are put; "" for others.
        kms_key: KMS key that encrypts them there; "" for the bucket's own encryption.

    Returns:
        `[{"generated_text": …}]` for each.

    Raises:
        EndpointError: The endpoint refused, or answered in another form.
    """
    responses: list[Any] = []
    for part in _parts(prompts):
        content = {**(parameters or {}), "prompt": part}
        responses += _completions(endpoint, _answer(place, endpoint, content, output_uri, kms_key), len(part))
    return responses


def _parts(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """The inputs, as many at once as servers take."""
    for first in range(0, len(inputs), INPUTS_PER_REQUEST):
        yield list(inputs[first : first + INPUTS_PER_REQUEST])


def _answer(place: Place, endpoint: str, content: Mapping[str, Any], output_uri: str, kms_key: str) -> Any:
    """What an endpoint answers to one request."""
    body = json.dumps(content).encode()
    answer = _later(place, endpoint, body, output_uri, kms_key) if output_uri else _now(place, endpoint, body)
    try:
        return json.loads(answer)
    except ValueError as error:
        raise EndpointError(f"endpoint {endpoint} did not answer in JSON ({error})") from error


def _now(place: Place, endpoint: str, body: bytes) -> bytes:
    try:
        given = place.ask(
            place.runtime.invoke_endpoint, EndpointName=endpoint, Body=body, ContentType=_JSON, Accept=_JSON
        )
    except Exception as error:
        if aws.code(error) != "ModelError":
            raise
        raise EndpointError(f"endpoint {endpoint} refused: {aws.reason(error)}") from error
    content: bytes = given["Body"].read()
    return content


def _later(place: Place, endpoint: str, body: bytes, output_uri: str, kms_key: str) -> bytes:
    """Puts the request on S3 and waits for the answer there; what was put there for it is taken away again.

    SageMaker names the answer after the request's id, so a call that is made again has no second answer.
    """
    bucket, prefix = bucket_and_key(output_uri, "output_uri")
    number = str(uuid.uuid4())
    key = f"{prefix}/hfpc-requests/{number}.json".lstrip("/")
    used = [f"s3://{bucket}/{key}", f"{output_uri.rstrip('/')}/{number}.out"]
    try:
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        place.ask(place.s3.put_object, Bucket=bucket, Key=key, Body=body, **encryption)
        given = place.ask(
            place.runtime.invoke_endpoint_async,
            EndpointName=endpoint,
            InferenceId=number,
            InputLocation=used[0],
            ContentType=_JSON,
            Accept=_JSON,
        )
        places = [uri for uri in (given["OutputLocation"], given.get("FailureLocation", "")) if uri]
        used += places
        return _waited(place, endpoint, *places)
    finally:
        for uri in dict.fromkeys(used):
            _forget(place, uri)


def _forget(place: Place, uri: str) -> None:
    """Removes an object of a request. One that stays is told, and no reason to fail: the answer is here."""
    bucket, key = bucket_and_key(uri)
    try:
        place.remove(place.s3.delete_object, Bucket=bucket, Key=key)
    except Exception as error:
        print(f"{uri} could not be removed, so it stays: {line(error)}", flush=True)


def _waited(place: Place, endpoint: str, done: str, failed: str = "") -> bytes:
    for _ in place.patience.polls():
        if (content := _written(place, done)) is not None:
            return content
        if failed and (content := _written(place, failed)) is not None:
            said = " ".join(content.decode(errors="replace").split())[:500]
            raise EndpointError(f"endpoint {endpoint} refused: {said}")
    raise EndpointError(f"endpoint {endpoint} has not written {done} after {place.patience.total:g} seconds")


def _written(place: Place, uri: str) -> bytes | None:
    """What an endpoint has written to S3; None as long as it has not."""
    try:
        return read(place, uri)
    except Exception as error:
        if aws.code(error) != "AccessDenied":
            raise
        need = f"it needs s3:GetObject on {uri}, and s3:ListBucket on {bucket_and_key(uri)[0]}"
        raise EndpointError(f"{line(error)}: {need}, or S3 does not tell what is not there yet") from error


def read(place: Place, uri: str) -> bytes | None:
    """A small object of S3; None where there is none."""
    bucket, key = bucket_and_key(uri)
    found = place.found(place.s3.get_object, Bucket=bucket, Key=key)
    return None if found is None else bytes(found["Body"].read())


def _responses(endpoint: str, answer: Any, wanted: int) -> list[Any]:
    """The answers of an endpoint; the stock container gives the best label alone, without a list around it."""
    if not isinstance(answer, list) or len(answer) != wanted:
        raise EndpointError(f"endpoint {endpoint} did not give a list with one response for each of {wanted} inputs")
    return [[item] if isinstance(item, dict) else item for item in answer]


def _completions(endpoint: str, answer: Any, wanted: int) -> list[Any]:
    """The texts of completions, in the order of their prompts."""
    try:
        texts = [choice["text"] for choice in sorted(answer["choices"], key=lambda choice: int(choice["index"]))]
    except (KeyError, TypeError, ValueError) as error:
        raise EndpointError(f"endpoint {endpoint} did not answer in the form of completions") from error
    if len(texts) != wanted or not all(isinstance(text, str) for text in texts):
        raise EndpointError(f"endpoint {endpoint} did not give one text for each of {wanted} prompts")
    return [[{"generated_text": text}] for text in texts]
