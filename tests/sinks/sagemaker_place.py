"""A loopback SageMaker with registered models, for the tests of deployments."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from hfpc import aws, golden
from hfpc.errors import HfpcError
from hfpc.sinks.patience import Patience
from hfpc.sinks.sagemaker_calls import Place
from hfpc.sinks.sagemaker_endpoints import DeploySagemakerEndpointConfig
from hfpc.sinks.sagemaker_register import ModelPackage
from hfpc.sinks.sagemaker_scaling import read
from tests.serving.ports import free_port

QUICK = Patience(call=5.0, total=120.0, pause=0.001, retry=0.001, settle=0.01, attempts=3)
ROLE = "arn:aws:iam::123456789012:role/serving"
REGION = "us-east-1"
NAME = "tweets"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"
LATER = {
    "mode": "async",
    "output_uri": "s3://models/async",
    "min_instances": 0,
    "max_instances": 2,
    "scaling_target": 5,
}
"""Settings of an asynchronous endpoint, with instances only when there is something to do."""


@dataclass(frozen=True, kw_only=True)
class Meanwhile(Patience):
    """Lets something happen, once, when a step waits after a call, e.g. the end of its process.

    Attributes:
        calls: The calls that were made.
        method: Name of the call.
        happens: What happens.
        times: How often the call was made by then.
    """

    calls: list[str]
    method: str
    happens: Callable[[], object]
    times: int = 1
    _happened: list[str] = field(default_factory=list)

    def _look(self) -> None:
        if not self._happened and self.calls.count(self.method) >= self.times:
            self._happened.append(self.method)
            self.happens()

    def retries(self) -> Iterator[int]:
        self._look()
        yield from Patience.retries(self)

    def polls(self, total: float | None = None) -> Iterator[float]:
        self._look()
        yield from Patience.polls(self, total)


def killed(account: Any, method: str, times: int, step: Callable[[Patience], object]) -> None:
    """Runs a step until it has made a call, then ends it, without a chance to put anything back."""
    account.faults.clear()

    def end() -> None:
        raise SystemExit

    patience = Meanwhile(**vars(QUICK), calls=account.faults.calls, method=method, happens=end, times=times)
    with contextlib.suppress(SystemExit):
        step(patience)
    assert account.faults.calls.count(method) == times
    account.faults.clear()


def client(service: str) -> Any:
    """A client of the account; one for all tests, as making one takes longer than asking."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@lru_cache(maxsize=16)
def _client(service: str, url: str) -> Any:
    return aws.client(service)


def deployment(**changes) -> DeploySagemakerEndpointConfig:
    settings = {"endpoint_name": NAME, "role": ROLE, "instance_type": "ml.m5.large"}
    return DeploySagemakerEndpointConfig(**{**settings, **changes})


@contextlib.contextmanager
def running(model: Path, **variables: str) -> Iterator[str]:
    """The address of this project's server, in a process of its own, with a model and environment variables."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "hfpc.serving.server",
        str(model),
        "--port",
        str(port),
        "--parent",
        str(os.getpid()),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **variables})
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/ready", timeout=60, trust_env=False).is_success:
                    break
            assert process.poll() is None and time.monotonic() < until, "the server did not start"
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def package(model: Path, name: str, *, wrong: bool = False, archived: bool = False) -> ModelPackage:
    """A package whose model data are the golden requests alone: the server that answers has the rest.

    Of a model that is wrong the golden requests say other labels than the server does.
    """
    sagemaker = client("sagemaker")
    requests = golden.read(model)
    if wrong:
        for request in requests:
            labels = [item["label"] for item in request["response"]]
            for item, label in zip(request["response"], reversed(labels), strict=True):
                item["label"] = label
    folder, content = f"staged/{name}/model/", json.dumps(requests).encode()
    key, body = (f"staged/{name}/model.tar.gz", _archive(content)) if archived else (f"{folder}golden.json", content)
    client("s3").put_object(Bucket="models", Key=key, Body=body)
    with contextlib.suppress(sagemaker.exceptions.ClientError):
        sagemaker.create_model_package_group(ModelPackageGroupName="tweets")
    made = sagemaker.create_model_package(ModelPackageGroupName="tweets", ModelApprovalStatus="Approved")
    return ModelPackage(
        arn=made["ModelPackageArn"],
        group="tweets",
        version=made["ModelPackageArn"].rpartition("/")[2],
        region=REGION,
        fingerprint=name,
        task="text-classification",
        model_data=f"s3://models/{key if archived else folder}",
        staging_uri="s3://models/staged",
        image=IMAGE,
        processor="cpu",
        approval="Approved",
    )


def _archive(content: bytes) -> bytes:
    """A `model.tar.gz` with golden requests."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        entry = tarfile.TarInfo(golden.FILE_NAME)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def state() -> dict[str, Any]:
    """What a user of the account sees: endpoints, configurations, models, scaling, alarms, what async ones wrote."""
    sagemaker, place = client("sagemaker"), Place(region=REGION, patience=QUICK)
    vars(place).update(autoscaling=client("application-autoscaling"))
    endpoints = {}
    for item in sagemaker.list_endpoints()["Endpoints"]:
        described = sagemaker.describe_endpoint(EndpointName=item["EndpointName"])
        endpoints[item["EndpointName"]] = (described["EndpointStatus"], described["EndpointConfigName"])
    written = client("s3").list_objects_v2(Bucket="models", Prefix="async/").get("Contents", [])
    targets = client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    alarms = [item["AlarmName"] for item in client("cloudwatch").describe_alarms()["MetricAlarms"]]
    return {
        "endpoints": endpoints,
        "configs": sorted(item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        "models": sorted(item["ModelName"] for item in sagemaker.list_models()["Models"]),
        "scaling": {name: scaling for name in endpoints if (scaling := read(place, name)).limits},
        "targets": [item["ResourceId"] for item in targets["ScalableTargets"]],
        "alarms": [name for name in alarms if name.startswith("hfpc-")],
        "objects": [item["Key"] for item in written],
    }


EMPTY: dict[str, Any] = {
    "endpoints": {},
    "configs": [],
    "models": [],
    "scaling": {},
    "targets": [],
    "alarms": [],
    "objects": [],
}


def served(endpoint: Any) -> dict[str, Any]:
    """The state of an account with one endpoint and nothing else."""
    return {
        **EMPTY,
        "endpoints": {NAME: ("InService", endpoint.config)},
        "configs": [endpoint.config],
        "models": [endpoint.config],
    }


def told_by(step: Callable[[], object]) -> str:
    """The error that a step ends with; "" where it ends well."""
    try:
        step()
    except HfpcError as error:
        return str(error)
    return ""
