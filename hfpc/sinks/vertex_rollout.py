"""Bringing a model into an endpoint's traffic, and everything back to what it was if that fails."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import golden, manifest, storage, tasks
from hfpc.errors import EndpointError, HfpcError
from hfpc.progress import Reporter
from hfpc.sinks.vertex_calls import MANAGED, Place, is_ours
from hfpc.sinks.vertex_predict import ask

TRIAL_LABEL = "hfpc-trial-of"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is to be brought where.

    Attributes:
        place: The region.
        endpoint: Resource name of the endpoint.
        body: The endpoint as it is made if there is none.
        deployed: The model as it is deployed; its `id` is derived from what it is.
        artifact_uri: Folder of the model's files, with its golden requests.
        canary_percent: Share of the traffic that it gets first; 0 for none.
        canary_seconds: How long it has that share.
    """

    place: Place
    endpoint: str
    body: dict[str, Any]
    deployed: dict[str, Any]
    artifact_uri: str
    canary_percent: int
    canary_seconds: float

    @property
    def trial(self) -> str:
        """Resource name of the endpoint at which the model is tried."""
        return f"{self.endpoint}-{self.deployed['id']}"


@dataclass(frozen=True)
class Golden:
    """The golden requests of a model and the task they are of."""

    task: tasks.Task
    requests: list[dict[str, Any]]


def roll_out(rollout: Rollout) -> tuple[list[str], bool]:
    """Deploys, tests, moves the traffic, and takes the old models away.

    Returns:
        Ids of the models that had traffic before, and whether the traffic was moved.

    Raises:
        EndpointError: It failed; the message says whether everything is as before.
    """
    expected = golden_of(rollout.artifact_uri)
    place, new = rollout.place, rollout.deployed["id"]
    endpoint = place.found(place.endpoints.get_endpoint, {"name": rollout.endpoint})
    if endpoint is not None and not is_ours(endpoint):
        raise EndpointError(f"{rollout.endpoint} was not made by this library: give another endpoint_name")
    before = {} if endpoint is None else dict(endpoint.traffic_split)
    if before == {new: 100}:
        _tidy(rollout)
        return [], False
    try:
        _bring(rollout, before, expected)
    except (Exception, KeyboardInterrupt) as error:
        problem = _put_back(rollout, before, made=endpoint is None)
        now = f"not everything could be put back ({problem})" if problem else "everything is as before"
        raise EndpointError(f"{_line(error)}; {now}") from error
    _tidy(rollout)
    return sorted(set(before) - {new}), True


def remove_endpoint(place: Place, resource: str) -> None:
    """Undeploys every model of an endpoint, also one that is on its way, and deletes it."""
    if place.found(place.endpoints.get_endpoint, {"name": resource}) is None:
        return
    place.settle(place.endpoints, resource)
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    # A model that has traffic can only go last.
    ids = sorted((each.id for each in endpoint.deployed_models), key=lambda key: endpoint.traffic_split.get(key, 0))
    if len(ids) > 1 and endpoint.traffic_split:
        _move(place, resource, {ids[-1]: 100})
    for deployed in ids:
        _undeploy(place, resource, deployed)
    _until_gone(
        place,
        lambda: place.found(place.endpoints.get_endpoint, {"name": resource}),
        lambda: place.endpoints.delete_endpoint(request={"name": resource}, retry=None, timeout=place.patience.call),
    )


def _bring(rollout: Rollout, before: dict[str, int], expected: Golden) -> None:
    """From the trial to all traffic."""
    place, new = rollout.place, rollout.deployed["id"]
    _ensure_endpoint(place, rollout.endpoint, rollout.body)
    here = _deployed_ids(place, rollout.endpoint)
    others = {key: share for key, share in before.items() if key != new}
    if not others:
        # Nobody is served yet: it can be tried where it will serve.
        _deploy(place, rollout.endpoint, rollout.deployed, {"0": 100})
        _move(place, rollout.endpoint, {new: 100})
        _check(place, rollout.endpoint, expected)
        return
    if new not in here:
        _try(rollout, expected)
        _deploy(place, rollout.endpoint, rollout.deployed, {})
    if rollout.canary_percent:
        _watch_canary(rollout, others, expected)
    _move(place, rollout.endpoint, {new: 100})
    _check(place, rollout.endpoint, expected)


def _try(rollout: Rollout, expected: Golden) -> None:
    """Sends the golden requests to the model at an endpoint of its own, which is removed whatever they give."""
    place, parent = rollout.place, rollout.endpoint.rpartition("/")[2]
    body = {"display_name": rollout.trial.rpartition("/")[2], "labels": {**MANAGED, TRIAL_LABEL: parent}}
    _ensure_endpoint(place, rollout.trial, body)
    _deploy(place, rollout.trial, {**rollout.deployed, "dedicated_resources": _one_replica(rollout)}, {"0": 100})
    _move(place, rollout.trial, {rollout.deployed["id"]: 100})
    _check(place, rollout.trial, expected)
    remove_endpoint(place, rollout.trial)


def _one_replica(rollout: Rollout) -> dict[str, Any]:
    return {**rollout.deployed["dedicated_resources"], "min_replica_count": 1, "max_replica_count": 1}


def _watch_canary(rollout: Rollout, others: dict[str, int], expected: Golden) -> None:
    """Gives the new model its share for a while, during which the golden requests must be answered rightly."""
    place, share = rollout.place, rollout.canary_percent
    _move(place, rollout.endpoint, {**_scaled(others, 100 - share), rollout.deployed["id"]: share})
    reporter = Reporter("seconds of canary", total=round(rollout.canary_seconds))
    start = time.monotonic()
    while (passed := time.monotonic() - start) < rollout.canary_seconds:
        # Old and new may be asked: the old need not answer as the new does, so only what the new says counts.
        for request in expected.requests:
            responses, answered_by = ask(place, rollout.endpoint, [request["inputs"]])
            if answered_by == {rollout.deployed["id"]}:
                _compare(rollout.endpoint, expected.task, [request], responses)
        reporter.update(round(passed), f"{share} % of the traffic")
        time.sleep(min(place.patience.pause, rollout.canary_seconds))


def _scaled(shares: dict[str, int], total: int) -> dict[str, int]:
    """The same proportions with another sum, in whole numbers."""
    keys = sorted(shares)
    scaled = {key: shares[key] * total // sum(shares.values()) for key in keys}
    scaled[keys[0]] += total - sum(scaled.values())
    return scaled


def _check(place: Place, resource: str, expected: Golden) -> None:
    responses, _ = ask(place, resource, [request["inputs"] for request in expected.requests])
    _compare(resource, expected.task, expected.requests, responses)


def _compare(resource: str, task: tasks.Task, requests: list[dict[str, Any]], responses: list[Any]) -> None:
    different = golden.differences(task, requests, responses)
    if different:
        listed = "; ".join(different)
        raise EndpointError(f"{resource} does not answer as the model did when it was made: {listed}")


def golden_of(uri: str) -> Golden:
    """The golden requests in a model's folder.

    Raises:
        ArgumentError: The store refused.
        DataError: The folder has none.
    """
    with storage.reaching(uri, "artifact_uri"), tempfile.TemporaryDirectory() as scratch:
        store, path = storage.filesystem(uri, "artifact_uri")
        for name in (manifest.FILE_NAME, golden.FILE_NAME):
            store.get_file(f"{path.rstrip('/')}/{name}", f"{scratch}/{name}")
        folder = Path(scratch)
        return Golden(tasks.get(manifest.read(folder, "model").task), golden.read(folder))


def _ensure_endpoint(place: Place, resource: str, body: dict[str, Any]) -> None:
    parent, _, name = resource.rpartition("/endpoints/")

    def make() -> None:
        request = {"parent": parent, "endpoint": body, "endpoint_id": name}
        operation = place.endpoints.create_endpoint(request=request, retry=None, timeout=place.patience.call)
        place.wait(place.endpoints, operation)

    made = place.ensure(lambda: place.found(place.endpoints.get_endpoint, {"name": resource}), make)
    if not is_ours(made):
        raise EndpointError(f"{resource} was not made by this library: give another endpoint_name")


def _deployed_ids(place: Place, resource: str) -> list[str]:
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    return [deployed.id for deployed in endpoint.deployed_models]


def _deploy(place: Place, resource: str, deployed: dict[str, Any], traffic: dict[str, int]) -> None:
    """Deploys a model unless it is there. One that is on its way already is waited for."""

    def find() -> Any:
        return deployed["id"] if deployed["id"] in _deployed_ids(place, resource) else None

    def make() -> None:
        place.settle(place.endpoints, resource)
        there = _deployed_ids(place, resource)
        if deployed["id"] in there:
            return
        request: dict[str, Any] = {"endpoint": resource, "deployed_model": deployed}
        if traffic and not there:
            request["traffic_split"] = traffic
        operation = place.endpoints.deploy_model(request=request, retry=None, timeout=place.patience.call)
        place.wait(place.endpoints, operation)

    place.ensure(find, make)


def _move(place: Place, resource: str, traffic: dict[str, int]) -> None:
    """Sets the traffic split, unless it is that."""
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    if dict(endpoint.traffic_split) == traffic:
        return
    body = {"name": resource, "traffic_split": traffic}
    place.ask(place.endpoints.update_endpoint, {"endpoint": body, "update_mask": {"paths": ["traffic_split"]}})


def _undeploy(place: Place, resource: str, deployed: str) -> None:
    request = {"endpoint": resource, "deployed_model_id": deployed}
    _until_gone(
        place,
        lambda: deployed if deployed in _deployed_ids(place, resource) else None,
        lambda: place.endpoints.undeploy_model(request=request, retry=None, timeout=place.patience.call),
    )


def _until_gone(place: Place, find: Any, remove: Any) -> None:
    """Removes something that may be gone already, also by a call whose answer was lost."""
    from google.api_core.exceptions import NotFound

    for attempt in place.patience.retries():
        if find() is None:
            return
        try:
            place.wait(place.endpoints, remove())
        except NotFound:
            return
        except Exception:
            if attempt == place.patience.attempts and find() is not None:
                raise


def _put_back(rollout: Rollout, before: dict[str, int], *, made: bool) -> str:
    """Restores the traffic and removes what was made; what could not be done, "" for nothing."""
    place, new = rollout.place, rollout.deployed["id"]

    def restore() -> None:
        if place.found(place.endpoints.get_endpoint, {"name": rollout.endpoint}) is None:
            return
        if made:
            remove_endpoint(place, rollout.endpoint)
            return
        place.settle(place.endpoints, rollout.endpoint)
        if before:
            _move(place, rollout.endpoint, before)
        if new not in before:
            _undeploy(place, rollout.endpoint, new)

    problems = []
    for step in (restore, lambda: remove_endpoint(place, rollout.trial)):
        try:
            step()
        except Exception as error:
            problems.append(_line(error))
    return "; ".join(problems)


def _tidy(rollout: Rollout) -> None:
    """Takes away what is no longer asked: older models of ours, and trial endpoints that a killed step left."""
    place, new = rollout.place, rollout.deployed["id"]
    try:
        endpoint = place.ask(place.endpoints.get_endpoint, {"name": rollout.endpoint})
        for deployed in endpoint.deployed_models:
            if deployed.id != new and deployed.display_name.startswith("hfpc-"):
                _undeploy(place, rollout.endpoint, deployed.id)
        label = f'labels.{TRIAL_LABEL}="{rollout.endpoint.rpartition("/")[2]}"'
        request = {"parent": place.parent, "filter": label}
        for trial in place.ask(place.endpoints.list_endpoints, request):
            if is_ours(trial):
                remove_endpoint(place, trial.name)
    except Exception as error:
        what = f"{new} serves all traffic of {rollout.endpoint}, but what served before could not be taken away"
        raise EndpointError(f"{what} ({_line(error)}): run this step again") from error


def _line(error: BaseException) -> str:
    if isinstance(error, HfpcError):
        return str(error)
    return " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())
