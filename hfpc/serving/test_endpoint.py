"""Stage: does the endpoint answer as the model did when it was made, and fast enough?"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hfpc import golden, manifest, tasks
from hfpc import registry as local_registry
from hfpc.errors import ArgumentError, EndpointError
from hfpc.progress import Reporter
from hfpc.serving.client import Client
from hfpc.serving.running import found_or_started

Ask = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True, kw_only=True)
class TestEndpointConfig:
    """What is asked of the endpoint.

    Attributes:
        max_latency_ms: Most milliseconds that 95 of 100 requests may take, one at a time. The
            default is what a person takes for an immediate answer.
        requests: Requests that are timed, one input each; the golden ones are repeated until there
            are as many. Each golden request is sent once before, to warm up.
        roll_back: When the test fails for any reason, put the alias back to the version that served
            before, if this deployment moved it. Off, because a test should change what it tests
            only when told to.

    Raises:
        ArgumentError: A value cannot be used.
    """

    __test__: ClassVar[bool] = False  # pytest takes a class of this name for a test

    max_latency_ms: float = 1000.0
    requests: int = 50
    roll_back: bool = False

    def __post_init__(self) -> None:
        if not self.max_latency_ms > 0:
            raise ArgumentError("max_latency_ms", self.max_latency_ms, "give milliseconds above 0")
        if self.requests < 1:
            raise ArgumentError("requests", self.requests, "give a whole number of at least 1")


@dataclass(frozen=True, kw_only=True)
class EndpointTest:
    """What the test found.

    Attributes:
        metrics: `requests` timed, and `latency_ms_p50`, `latency_ms_p95`, `latency_ms_p99`.
    """

    metrics: dict[str, float]


def test_endpoint(config: TestEndpointConfig, endpoint: Mapping[str, Any]) -> EndpointTest:
    """Sends a model's golden requests to its endpoint on this machine over HTTP.

    Args:
        config: What is asked of it.
        endpoint: `platform`, `registry`, `name`, `alias`, `version`, `previous_version` and `moved`,
            as `deploy_local` gives them. A server that runs is asked; if there is none, one is started
            for the test.

    Raises:
        ArgumentError: The endpoint is of a platform that cannot be tested.
        EndpointError: It did not start, an answer differs in label, or it is too slow.
    """
    if endpoint.get("platform") != "local":
        fix = "give an endpoint from deploy_local, deploy_vertex_endpoint or deploy_sagemaker_endpoint"
        raise ArgumentError("endpoint", endpoint.get("platform"), fix)
    try:
        return _test(config, endpoint)
    except Exception as error:
        # A version that served already before this deployment did not come with it.
        if not config.roll_back or not endpoint.get("moved"):
            raise
        name, alias, previous = endpoint["name"], endpoint["alias"], endpoint["previous_version"]
        local_registry.restore_alias(name, alias, endpoint["version"], previous, endpoint["registry"])
        now = f"means version {previous} again" if previous else "was removed, as no version served before"
        raise EndpointError(f"{error}\n{name}@{alias} {now}") from error


def _test(config: TestEndpointConfig, endpoint: Mapping[str, Any]) -> EndpointTest:
    target, registry = f"{endpoint['name']}@{endpoint['alias']}", endpoint["registry"]
    folder = local_registry.locate(target, registry)
    if folder.name != endpoint["version"]:
        raise EndpointError(
            f"{target} means version {folder.name} by now and not {endpoint['version']}: it was deployed again since"
        )
    task = tasks.get(manifest.read(folder, "model").task)
    with found_or_started(target, registry) as url, Client(url) as client:
        return measure(config, client.ask, task, golden.read(folder), target)


def measure(
    config: TestEndpointConfig, ask: Ask, task: tasks.Task, requests: list[dict[str, Any]], target: str
) -> EndpointTest:
    """Sends golden requests, compares the answers and takes the time.

    Args:
        config: What is asked for.
        ask: Sends inputs; gives a response for each.
        task: The model's task.
        requests: The model's golden requests.
        target: What is tested, for the error.

    Raises:
        EndpointError: An answer differs in label, or it is too slow.
    """
    _check(task, requests, [ask([request["inputs"]])[0] for request in requests], target)
    chosen = [requests[index % len(requests)] for index in range(config.requests)]
    responses, milliseconds = _timed(ask, [request["inputs"] for request in chosen])
    _check(task, chosen, responses, target)
    latency = {f"latency_ms_p{share}": _percentile(milliseconds, share) for share in (50, 95, 99)}
    if latency["latency_ms_p95"] > config.max_latency_ms:
        raise EndpointError(
            f"95 of 100 requests to {target} took up to {latency['latency_ms_p95']:.1f} ms, over "
            f"max_latency_ms={config.max_latency_ms:g}: raise the limit, or choose a smaller base_model or max_length"
        )
    return EndpointTest(metrics={"requests": len(milliseconds), **latency})


test_endpoint.__test__ = False  # type: ignore[attr-defined]


def _timed(ask: Ask, inputs: list[Any]) -> tuple[list[Any], list[float]]:
    """The response to each input, sent one at a time, and how many milliseconds it took."""
    responses, milliseconds = [], []
    reporter = Reporter("requests", total=len(inputs))
    for item in inputs:
        start = time.perf_counter()
        responses += ask([item])
        milliseconds.append(1000 * (time.perf_counter() - start))
        reporter.update(len(responses))
    return responses, milliseconds


def _check(task: tasks.Task, requests: list[dict[str, Any]], responses: list[Any], target: str) -> None:
    different = list(dict.fromkeys(golden.differences(task, requests, responses)))
    if different:
        listed = "\n  ".join(different)
        raise EndpointError(f"{target} does not answer as the model did when it was made:\n  {listed}")


def _percentile(values: list[float], share: int) -> float:
    """The least value that at least `share` of 100 values do not exceed."""
    return sorted(values)[math.ceil(len(values) * share / 100) - 1]
