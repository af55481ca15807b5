"""Asking an InferenceService, and the golden requests of what it serves."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hfpc import golden, manifest, tasks
from hfpc.errors import ArgumentError, EndpointError
from hfpc.serving.client import INPUTS_PER_REQUEST
from hfpc.sinks.kserve_service import DeployKserveConfig
from hfpc.sinks.model_folder import described
from hfpc.sinks.patience import Patience

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE = "HFPC_KSERVE_TOKEN"  # noqa: S105 the name of a variable
"""Token for a gateway that lets nobody in without; it is sent as `Authorization: Bearer`."""

_PASSING = (404, 429, 500, 502, 503, 504)
"""404 too: a gateway may not know yet where a service is that has just become ready."""


@dataclass(frozen=True)
class Golden:
    """The golden requests of a model, the task they are of, and its labels in the order of their numbers."""

    task: tasks.Task
    requests: list[dict[str, Any]]
    labels: list[str]

    def check(self, where: str, responses: Sequence[Any]) -> None:
        """Raises EndpointError where an answer differs from when the model was made."""
        different = list(dict.fromkeys(golden.differences(self.task, self.requests, responses)))
        if different:
            listed = "; ".join(different)
            raise EndpointError(f"{where} does not answer as the model did when it was made: {listed}")


def read_model(model: str) -> tuple[str, Golden | None]:
    """The fingerprint and the golden requests of a model's folder, a path or a URI; None for a task that has none.

    Raises:
        ArgumentError: The store refused.
        DataError: The folder holds no model, or no golden requests although its task has them.
    """
    with described(model) as folder:
        return _read(folder)


def _read(folder: Path) -> tuple[str, Golden | None]:
    record = manifest.read(folder, "model")
    assert record.model is not None
    fingerprint = record.model.fingerprint
    if record.task not in tasks.names():
        return fingerprint, None
    labels = list(record.dataset.label_names) if record.dataset is not None else []
    return fingerprint, Golden(tasks.get(record.task), golden.read(folder), labels)


def check(config: DeployKserveConfig, url: str, expected: Golden | None, patience: Patience) -> None:
    """Sends the golden requests to a service.

    Raises:
        EndpointError: It does not answer, or otherwise than when the model was made.
    """
    if expected is None:
        print(f"{url} is ready; its task has no golden requests to send", flush=True)
        return
    inputs = [request["inputs"] for request in expected.requests]
    responses = ask(url, config.name, inputs, ingress=config.ingress, patience=patience)
    expected.check(url, labelled(responses, expected) if config.runtime == "huggingface" else responses)


def labelled(responses: Sequence[Any], expected: Golden) -> list[Any]:
    """The answers of KServe's Hugging Face runtime, which gives the number of a label, as our own server gives them.

    Raises:
        EndpointError: An answer is not the number of a label.
    """
    labels = expected.labels
    numbers = [item if isinstance(item, int) and 0 <= item < len(labels) else None for item in responses]
    if None in numbers:
        told = responses[numbers.index(None)]
        raise EndpointError(f"the runtime answered {str(told)[:100]!r} and not with the number of one of {labels}")
    return [[{"label": labels[number], "score": 1.0}] for number in numbers if number is not None]


def check_runtime(runtime: str, expected: Golden | None) -> None:
    """Raises ArgumentError where a runtime's answers cannot be compared with the golden requests."""
    if runtime == "huggingface" and expected is not None and expected.task.name != "text-classification":
        fix = f"give hfpc: KServe's own answers a {expected.task.name} in a form that cannot be tested"
        raise ArgumentError("runtime", runtime, fix)


def ask(
    url: str,
    model: str,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
    *,
    ingress: str = "",
    patience: Patience | None = None,
) -> list[Any]:
    """A response for each input, by KServe's protocol version 1.

    Args:
        url: URL of the service.
        model: Name of the model in it.
        inputs: Inputs of the model's task.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`; for this package's serving image only.
        ingress: `http://HOST:PORT` that is asked in the place of the URL's host; "" asks the URL itself.
        patience: How long is waited; None takes the defaults.

    Raises:
        EndpointError: The service cannot be reached, refused, or answered in another form.
    """
    import httpx

    limits, host = patience or Patience(), urlsplit(url).netloc
    # The path of a URL is a part of it: Kubeflow sets up KServe so that a service answers below one.
    base, token = f"{ingress}{urlsplit(url).path}" if ingress else url, os.environ.get(TOKEN_VARIABLE, "")
    headers = {"Host": host, **({"Authorization": f"Bearer {token}"} if token else {})}
    own = urlsplit(base).hostname in ("127.0.0.1", "localhost", "::1")
    responses: list[Any] = []
    # A proxy of the environment could not reach this machine. Certificates are read for TLS only: it takes long.
    settings: dict[str, Any] = {"timeout": limits.call, "trust_env": not own, "verify": base.startswith("https:")}
    with httpx.Client(base_url=base, headers=headers, **settings) as client:
        for first in range(0, len(inputs), INPUTS_PER_REQUEST):
            part = list(inputs[first : first + INPUTS_PER_REQUEST])
            content = {"instances": part, **({"parameters": dict(parameters)} if parameters else {})}
            responses += _predictions(
                _post(client, f"/v1/models/{model}:predict", content, url, limits), url, len(part)
            )
    return responses


def _post(client: "httpx.Client", path: str, content: Any, url: str, patience: Patience) -> "httpx.Response":
    import httpx

    for attempt in patience.retries():
        last = attempt == patience.attempts
        try:
            response = client.post(path, json=content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if last or isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
                fix = "give an ingress where the cluster's names are not known"
                raise EndpointError(f"{url} does not answer ({error or type(error).__name__}): {fix}") from error
            continue
        if response.is_success:
            return response
        if last or response.status_code not in _PASSING:
            told = " ".join(response.text.split())[:300]
            raise EndpointError(f"{url} answered {response.status_code}: {told}")
    raise AssertionError("there is at least one attempt")


def _predictions(response: "httpx.Response", url: str, count: int) -> list[Any]:
    try:
        predictions = response.json()["predictions"]
    except (ValueError, KeyError, TypeError):
        predictions = None
    if not isinstance(predictions, list) or len(predictions) != count:
        raise EndpointError(f"{url} did not give one prediction for each of {count} instances")
    return predictions
