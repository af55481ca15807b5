"""Bringing a model into an endpoint's traffic, and everything back to what it was if that fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hfpc import golden, google_cloud, manifest, tasks
from hfpc.errors import EndpointError, HfpcError
from hfpc.progress import Reporter
from hfpc.sinks.cancelling import cancellable
from hfpc.sinks.model_folder import described
from hfpc.sinks.vertex_calls import MANAGED, Place, is_ours
from hfpc.sinks.vertex_predict import SPREADING, answer_of, asker

TRIAL_LABEL = "hfpc-trial-of"
PROVEN_LABEL = "hfpc-proven"
"""Label of an endpoint with the id of the model that had all its traffic and answered rightly."""
DEPLOYED = "hfpc-"
"""How the display names of models begin that are deployed here."""
_DEFAULT = "default"


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
        drain_seconds: How long what served before goes on, without traffic.
    """

    place: Place
    endpoint: str
    body: dict[str, Any]
    deployed: dict[str, Any]
    artifact_uri: str
    canary_percent: int
    canary_seconds: float
    drain_seconds: float

    @property
    def trial(self) -> str:
        """Resource name of the endpoint at which the model is tried."""
        return f"{self.endpoint}-{self.deployed['id']}"


@dataclass(frozen=True)
class Golden:
    """The golden requests of a model and the task they are of."""

    task: tasks.Task
    requests: list[dict[str, Any]]


@cancellable()
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
    remove_trials(place, rollout.endpoint, keep=rollout.trial)
    if endpoint is not None and endpoint.traffic_split == {new: 100} and endpoint.labels.get(PROVEN_LABEL) == new:
        _tidy(rollout)
        return [], False
    # Without what a killed step brought in and never proved.
    before = {} if endpoint is None else _served(endpoint, {new})
    try:
        _bring(rollout, before, expected)
    except (Exception, KeyboardInterrupt) as error:
        problem = _put_back(rollout, before, made=endpoint is None)
        now = f"not everything could be put back ({problem})" if problem else "everything is as before"
        raise EndpointError(f"{_line(error)}; {now}") from error
    _tidy(rollout)
    return sorted(before), True


def _served(endpoint: Any, without: set[str]) -> dict[str, int]:
    """The traffic of an endpoint without some of its models; that of the one that was proven last if none is left."""
    there = {each.id for each in endpoint.deployed_models} - without
    shares = {key: share for key, share in endpoint.traffic_split.items() if key in there and share}
    proven = endpoint.labels.get(PROVEN_LABEL, "")
    if not shares and proven in there:
        return {proven: 100}
    return _scaled(shares, 100) if shares else {}


def remove_trials(place: Place, resource: str, keep: str = "") -> None:
    """Removes the trial endpoints of an endpoint that killed steps left, all but one that goes on."""
    label = f'labels.{TRIAL_LABEL}="{resource.rpartition("/")[2]}"'
    for trial in place.ask(place.endpoints.list_endpoints, {"parent": place.parent, "filter": label}):
        if trial.name.rpartition("/")[2] != keep.rpartition("/")[2]:  # one may have the project's id, one its number
            remove_models(place, trial.name, is_deployed_here)


def is_deployed_here(deployed: Any) -> bool:
    """Whether a model at an endpoint was deployed by this library."""
    return bool(deployed.display_name.startswith(DEPLOYED))


def remove_models(place: Place, resource: str, chosen: Callable[[Any], bool]) -> None:
    """Undeploys models of an endpoint, also one that is on its way, and deletes it once it holds none.

    An endpoint that was not made here is left alone. What else is deployed at it goes on with all traffic.

    Args:
        place: The region.
        resource: Resource name of the endpoint.
        chosen: Whether a deployed model goes.
    """
    endpoint = place.found(place.endpoints.get_endpoint, {"name": resource})
    if endpoint is None or not is_ours(endpoint):
        return
    place.wait_for_operations(place.endpoints, resource)
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    # A model that has traffic can only go last.
    going = [each.id for each in endpoint.deployed_models if chosen(each)]
    going.sort(key=lambda key: endpoint.traffic_split.get(key, 0))
    stays = len(going) < len(endpoint.deployed_models)
    if stays:
        _move(place, resource, _served(endpoint, set(going)))
    elif len(going) > 1 and endpoint.traffic_split:
        _move(place, resource, {going[-1]: 100})
    for deployed in going:
        _undeploy(place, resource, deployed)
    if stays:
        return
    _until_gone(
        place,
        resource,
        lambda: place.found(place.endpoints.get_endpoint, {"name": resource}),
        lambda: place.endpoints.delete_endpoint(request={"name": resource}, retry=None, timeout=place.patience.call),
    )


def _bring(rollout: Rollout, before: dict[str, int], expected: Golden) -> None:
    """From the trial to all traffic."""
    place, new = rollout.place, rollout.deployed["id"]
    _ensure_endpoint(place, rollout.endpoint, rollout.body)
    if not before:
        # Nobody is served yet: it can be tried where it will serve.
        _deploy(place, rollout.endpoint, rollout.deployed, {"0": 100})
    else:
        if new not in _deployed_ids(place, rollout.endpoint):
            _try(rollout, expected)
            _deploy(place, rollout.endpoint, rollout.deployed, {})
        if rollout.canary_percent:
            _watch_canary(rollout, before, expected)
    _move(place, rollout.endpoint, {new: 100})
    _check(place, rollout.endpoint, new, expected)
    _prove(place, rollout.endpoint, new)


def _try(rollout: Rollout, expected: Golden) -> None:
    """Sends the golden requests to the model at an endpoint of its own, which is removed whatever they give."""
    place, parent = rollout.place, rollout.endpoint.rpartition("/")[2]
    body = {"display_name": rollout.trial.rpartition("/")[2], "labels": {**MANAGED, TRIAL_LABEL: parent}}
    body |= {key: rollout.body[key] for key in rollout.body.keys() & {"encryption_spec"}}
    _ensure_endpoint(place, rollout.trial, body)
    _deploy(place, rollout.trial, {**rollout.deployed, "dedicated_resources": _one_replica(rollout)}, {"0": 100})
    _move(place, rollout.trial, {rollout.deployed["id"]: 100})
    _check(place, rollout.trial, rollout.deployed["id"], expected)
    remove_models(place, rollout.trial, is_deployed_here)


def _one_replica(rollout: Rollout) -> dict[str, Any]:
    return {**rollout.deployed["dedicated_resources"], "min_replica_count": 1, "max_replica_count": 1}


def _watch_canary(rollout: Rollout, others: dict[str, int], expected: Golden) -> None:
    """Gives the new model its share for a while, during which the golden requests must be answered rightly.

    Old and new are asked, and the old need not answer as the new does: only what the new says is compared. Of an
    error nobody knows whose it is, so that any counts against the new.
    """
    place, share, new = rollout.place, rollout.canary_percent, rollout.deployed["id"]
    _move(place, rollout.endpoint, {**_scaled(others, 100 - share), new: share})
    one = asker(place, rollout.endpoint)
    reporter = Reporter("seconds of canary", total=round(rollout.canary_seconds))
    answered = False
    for passed in place.patience.polls(rollout.canary_seconds + SPREADING):
        for request in expected.requests:
            response, model = one(request["inputs"], {})
            if model == new:
                _compare(rollout.endpoint, expected.task, [request], [response])
                answered = True
        reporter.update(round(passed), f"{share} % of the traffic")
        if answered and passed >= rollout.canary_seconds:
            return
    raise EndpointError(f"{rollout.endpoint} sent no request to its new model, whose share is {share} %")


def _scaled(shares: dict[str, int], total: int) -> dict[str, int]:
    """The same proportions with another sum, in whole numbers."""
    keys = sorted(shares)
    scaled = {key: shares[key] * total // sum(shares.values()) for key in keys}
    scaled[keys[0]] += total - sum(scaled.values())
    return scaled


def _check(place: Place, resource: str, new: str, expected: Golden) -> None:
    """Sends the golden requests, each until the new model answers it: moved traffic arrives by and by."""
    one = asker(place, resource)
    for request in expected.requests:
        _compare(resource, expected.task, [request], [answer_of(new, one, request["inputs"], place, resource)])


def _prove(place: Place, resource: str, new: str) -> None:
    """Notes that the model answered rightly with all traffic, for steps to come."""
    endpoint = place.ask(place.endpoints.get_endpoint, {"name": resource})
    body = {"name": resource, "labels": {**endpoint.labels, PROVEN_LABEL: new}}
    place.ask(place.endpoints.update_endpoint, {"endpoint": body, "update_mask": {"paths": ["labels"]}})


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
    with described(uri, "artifact_uri") as folder:
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
        place.wait_for_operations(place.endpoints, resource)
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
        resource,
        lambda: deployed if deployed in _deployed_ids(place, resource) else None,
        lambda: place.endpoints.undeploy_model(request=request, retry=None, timeout=place.patience.call),
    )


def _until_gone(place: Place, resource: str, find: Any, remove: Any) -> None:
    """Removes something that may be gone already, also by a call whose answer was lost."""
    from google.api_core.exceptions import NotFound

    for attempt in place.patience.retries():
        if find() is None:
            return
        if attempt > 1:
            place.wait_for_operations(place.endpoints, resource)
        try:
            place.wait(place.endpoints, remove())
            return
        except NotFound:
            return
        except Exception as error:
            if attempt < place.patience.attempts and google_cloud.may_pass(error):
                continue
            if find() is None:
                return
            raise


def _put_back(rollout: Rollout, before: dict[str, int], *, made: bool) -> str:
    """Restores the traffic and removes what was made; what could not be done, "" for nothing."""
    place, new = rollout.place, rollout.deployed["id"]

    def restore() -> None:
        endpoint = place.found(place.endpoints.get_endpoint, {"name": rollout.endpoint})
        if endpoint is None or not is_ours(endpoint):  # others may have made it since
            return
        if made:
            remove_models(place, rollout.endpoint, lambda each: each.id == new)
            return
        place.wait_for_operations(place.endpoints, rollout.endpoint)
        if before:
            _move(place, rollout.endpoint, before)
        _undeploy(place, rollout.endpoint, new)

    problems = []
    for step in (restore, lambda: remove_models(place, rollout.trial, is_deployed_here)):
        try:
            step()
        except Exception as error:
            problems.append(_line(error))
    return "; ".join(problems)


def _tidy(rollout: Rollout) -> None:
    """Takes away the models of ours that are no longer asked, once the requests sent to them have ended.

    Before, as the proven model serves, its version becomes the one that is meant where none is named.
    """
    place, new = rollout.place, rollout.deployed["id"]
    try:
        _make_default(place, rollout.deployed["model"])
        endpoint = place.ask(place.endpoints.get_endpoint, {"name": rollout.endpoint})
        old = [each.id for each in endpoint.deployed_models if each.id != new and is_deployed_here(each)]
        if old:
            _drain(rollout)
        for deployed in old:
            _undeploy(place, rollout.endpoint, deployed)
    except Exception as error:
        what = f"{new} serves all traffic of {rollout.endpoint}, but what is left to do failed"
        raise EndpointError(f"{what} ({_line(error)}): run this step again") from error


def _make_default(place: Place, model: str) -> None:
    """Moves the alias `default` to a version, unless it has it, or the model was registered elsewhere."""
    version = place.ask(place.models.get_model, {"name": model})
    if is_ours(version) and _DEFAULT not in version.version_aliases:
        place.ask(place.models.merge_version_aliases, {"name": model, "version_aliases": [_DEFAULT]})


def _drain(rollout: Rollout) -> None:
    reporter = Reporter("seconds until the old model is taken away", total=round(rollout.drain_seconds))
    for passed in rollout.place.patience.polls(rollout.drain_seconds):
        reporter.update(round(passed))


def _line(error: BaseException) -> str:
    if isinstance(error, HfpcError):
        return str(error)
    return " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())
