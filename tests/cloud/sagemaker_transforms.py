"""Batch transform jobs: the server that stands for the model's image is asked for every record of the input."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import botocore.session
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from tests.cloud import sagemaker_containers
from tests.cloud.sagemaker_refusal import Refusal

Content = dict[str, Any]


@dataclass
class Job:
    """A transform job.

    Attributes:
        request: What it was made with.
        left: How often it will be described before it is done.
        status: "InProgress", "Completed", "Failed" or "Stopped".
        reason: Why it failed.
        sent: The bodies that the container was asked with.
    """

    request: Content
    left: int
    status: str = "InProgress"
    reason: str = ""
    sent: list[bytes] = field(default_factory=list)


@cache
def instance_types() -> frozenset[str]:
    """Those that transform jobs run on, as the description of the service says that botocore comes with."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    return frozenset(model.shape_for("TransformInstanceType").enum)


def run(job: Job, address: str) -> None:
    """Does all of the job; what one object is answered appears when all of it was."""
    given, wanted = job.request["TransformInput"], job.request["TransformOutput"]
    if job.request.get("DataProcessing", {}).get("JoinSource", "None") != "None":
        raise Refusal("NotImplemented", "this test SageMaker joins no input to output", status=501)
    source = given["DataSource"]["S3DataSource"]["S3Uri"]
    objects = dict(_objects(source))
    if not objects:
        job.status, job.reason = "Failed", f"ClientError: No S3 objects found under {source}"
        return
    content_type = given.get("ContentType", "application/octet-stream")
    headers = {"content-type": content_type, "accept": wanted.get("Accept", "*/*")}
    for name, content in objects.items():
        answers = []
        for body in _bodies(content, job.request):
            job.sent.append(body)
            given_back = sagemaker_containers.invoke(address, body, headers)
            if given_back.is_error:
                job.status = "Failed"
                job.reason = (
                    f"ClientError: See job logs for more information: {given_back.status_code} {given_back.text[:200]}"
                )
                return
            answers.append(given_back.content)
        if wanted.get("AssembleWith") == "Line":
            answers = [answer.rstrip(b"\n") + b"\n" for answer in answers]
        joined = b"".join(answers)
        write(f"{wanted['S3OutputPath'].rstrip('/')}/{name}.out", joined)
    job.status = "Completed"


def _bodies(content: bytes, request: Content) -> Iterator[bytes]:
    """The bodies that the content of an object is sent in."""
    if request["TransformInput"].get("SplitType", "None") == "None":
        yield content
        return
    lines = content.splitlines(keepends=True)
    if request.get("BatchStrategy") == "SingleRecord":
        yield from lines
        return
    most, together = request.get("MaxPayloadInMB", 6) << 20, b""
    for line in lines:
        if together and len(together) + len(line) > most:
            yield together
            together = b""
        together += line
    yield together


def _objects(uri: str) -> Iterator[tuple[str, bytes]]:
    """Name, relative to the last slash of the prefix, and content of the objects below it."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder = prefix[: prefix.rfind("/") + 1]
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for name, key in sorted(store.get_bucket(bucket).keys.items()):
        if name.startswith(prefix):
            yield name.removeprefix(folder), key.value


def read(uri: str) -> bytes:
    """The content of an object of this machine's S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
    if found is None:
        raise Refusal("ValidationError", f"Could not find {uri}.")
    content: bytes = found.value
    return content


def write(uri: str, content: bytes) -> None:
    """Makes an object of this machine's S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, content)
