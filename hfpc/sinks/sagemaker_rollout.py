"""Bringing a model to a SageMaker endpoint, and everything back to what it was if that fails.

SageMaker moves traffic by itself once an endpoint is told to update, so a new model is first tried at an endpoint of
its own: what answers otherwise than it should never gets a request of anybody else.
"""

import re
from dataclasses import dataclass
from typing import Any

from hfpc import aws
from hfpc.errors import EndpointError
from hfpc.sinks import sagemaker_scaling as scaling
from hfpc.sinks.sagemaker_calls import Place, is_changing, is_missing, line, may_pass
from hfpc.sinks.sagemaker_hosting import DeploySagemakerEndpointConfig
from hfpc.sinks.sagemaker_requests import Golden, check_golden

TRIAL = "-trial"
_MODES = {"async": "AsyncInferenceConfig", "serverless": "ServerlessConfig"}


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is to be brought where.

    Attributes:
        place: The region.
        config: The settings.
        name: Name of the model and of its configuration, derived from what they are.
        model: Request that makes the model.
        hosting: Request that makes the configuration.
        trial: Request that makes the configuration of the trial.
        shift: How an update moves traffic; empty where SageMaker does it at once.
        tags: Tags of what is made.
        expected: Golden requests; None for a task that has none.
    """

    place: Place
    config: DeploySagemakerEndpointConfig
    name: str
    model: dict[str, Any]
    hosting: dict[str, Any]
    trial: dict[str, Any]
    shift: dict[str, Any]
    tags: list[dict[str, str]]
    expected: Golden | None

    @property
    def endpoint(self) -> str:
        """Name of the endpoint."""
        return self.config.endpoint_name

    @property
    def trial_name(self) -> str:
        """Name of the endpoint at which the model is tried, and of its configuration."""
        return f"{self.name}{TRIAL}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an endpoint.

    Attributes:
        arn: ARN of the endpoint.
        previous: Name of the configuration that served before; "" for none.
        moved: Whether the endpoint was changed.
    """

    arn: str
    previous: str
    moved: bool


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What an endpoint was: its configuration, and how it was scaled."""

    config: str
    scaling: scaling.Scaling


def roll_out(rollout: Rollout) -> Outcome:
    """Makes, tries, updates, checks, and takes what served before away.

    Raises:
        EndpointError: It failed; the message says whether everything is as before.
    """
    place, name = rollout.place, rollout.endpoint
    found = _usable(rollout)
    if found is not None and found["EndpointConfigName"] == rollout.name:
        check_golden(place, name, rollout.expected, rollout.config.output_uri)
        scaling.apply(place, name, scaling.wanted(rollout.config, scaling.read(place, name)))
        _tidy(rollout, "")
        return Outcome(arn=found["EndpointArn"], previous="", moved=False)
    before = None
    if found is not None:
        _check_mode(rollout, found["EndpointConfigName"])
        before = _Before(config=found["EndpointConfigName"], scaling=scaling.read(place, name))
    try:
        now = _first(rollout) if before is None else _update(rollout, found, before)
        check_golden(place, name, rollout.expected, rollout.config.output_uri)
        there = before.scaling if before else scaling.Scaling()
        scaling.apply(place, name, scaling.wanted(rollout.config, there))
    except (Exception, KeyboardInterrupt) as error:
        problem = _put_back(rollout, before)
        after = f"not everything could be put back ({problem})" if problem else "everything is as before"
        raise EndpointError(f"{line(error)}; {after}") from error
    previous = before.config if before else ""
    _tidy(rollout, previous)
    return Outcome(arn=now["EndpointArn"], previous=previous, moved=True)


def remove_endpoint(place: Place, name: str) -> None:
    """Deletes an endpoint once nothing changes it any more, and waits until it is gone.

    It is deleted also where it is not seen: it may have been made just now.
    """
    for attempt in place.patience.retries():
        place.settled(name)
        try:
            place.ask(place.sagemaker.delete_endpoint, EndpointName=name)
            break
        except Exception as error:
            if is_missing(error):
                break
            if attempt == place.patience.attempts or not is_changing(error):
                raise
    for _ in place.patience.looks():
        if place.settled(name) is None:
            return
    raise EndpointError(f"endpoint {name} was deleted and is there again: somebody else makes it")


def remove_made(place: Place, endpoint: str, keep: str = "") -> None:
    """Removes what was made for an endpoint: trials, configurations and models, but for those named `keep`."""
    kinds = (
        ("Endpoint", place.sagemaker.list_endpoints, "Endpoints", remove_endpoint),
        ("EndpointConfig", place.sagemaker.list_endpoint_configs, "EndpointConfigs", _remove_config),
        ("Model", place.sagemaker.list_models, "Models", _remove_model),
    )
    for kind, method, key, remove in kinds:
        for item in place.pages(method, key, NameContains=f"{endpoint}-"):
            name, arn = item[f"{kind}Name"], item[f"{kind}Arn"]
            if name != keep and _is_made(endpoint, name) and place.is_ours(arn, endpoint):
                remove(place, name)


def remove_hosting(place: Place, endpoint: str, name: str) -> None:
    """Removes a configuration and its model, which were made for an endpoint, by their name.

    Lists do not name at once what was just made.
    """
    if _is_made(endpoint, name):
        _remove_config(place, name)
        _remove_model(place, name)


def _is_made(endpoint: str, name: str) -> bool:
    """Whether this is a name that is given here to what belongs to an endpoint."""
    return re.fullmatch(rf"{re.escape(endpoint)}-[0-9a-f]{{16}}({TRIAL})?", name) is not None


def _usable(rollout: Rollout) -> Any:
    """The endpoint, if it is ours and serves; one of ours that failed is deleted."""
    place, name = rollout.place, rollout.endpoint
    found = place.settled(name)
    if found is None:
        return None
    if not place.is_ours(found["EndpointArn"], name):
        raise EndpointError(f"endpoint {name} was not made by this library: give another endpoint_name")
    if found["EndpointStatus"] == "InService":
        return found
    if found["EndpointStatus"] != "Failed":
        raise EndpointError(f"endpoint {name} is {found['EndpointStatus']}: undeploy it first")
    scaling.remove(place, name)
    remove_endpoint(place, name)
    return None


def _check_mode(rollout: Rollout, config: str) -> None:
    """Raises EndpointError where the endpoint is of another mode, which SageMaker cannot update."""
    place = rollout.place
    described = place.found(place.sagemaker.describe_endpoint_config, EndpointConfigName=config)
    if described is None:
        raise EndpointError(f"the configuration {config} of endpoint {rollout.endpoint} is gone: undeploy it first")
    parts = {*described, *described["ProductionVariants"][0]}
    mode = next((mode for mode, part in _MODES.items() if part in parts), "realtime")
    if mode != rollout.config.mode:
        fix = f"undeploy it first, or give another endpoint_name for mode {rollout.config.mode}"
        raise EndpointError(f"endpoint {rollout.endpoint} is {mode}, and an endpoint keeps its mode: {fix}")


def _first(rollout: Rollout) -> Any:
    """Makes the endpoint: nobody is served yet, so it can be tried where it will serve."""
    _ensure_model(rollout)
    _ensure_config(rollout, rollout.name, rollout.hosting)
    return _ensure_endpoint(rollout, rollout.endpoint, rollout.name)


def _update(rollout: Rollout, found: Any, before: _Before) -> Any:
    """Tries the model, then moves the endpoint to it."""
    place, name = rollout.place, rollout.endpoint
    trial = rollout.trial_name
    _ensure_model(rollout)
    _ensure_config(rollout, trial, rollout.trial)
    _ensure_endpoint(rollout, trial, trial)
    check_golden(place, trial, rollout.expected, rollout.config.output_uri)
    remove_endpoint(place, trial)
    _remove_config(place, trial)
    _ensure_config(rollout, rollout.name, rollout.hosting)
    if before.scaling.limits is not None and _other_machines(rollout, before.config):
        scaling.remove(place, name)  # SageMaker refuses to change the instance type of what is scaled
        before_count = 0
    else:
        before_count = int(found["ProductionVariants"][0].get("DesiredInstanceCount") or 0)
    return change_config(place, name, rollout.name, **rollout.shift, **_instances(rollout, before, before_count))


def _other_machines(rollout: Rollout, config: str) -> bool:
    place = rollout.place
    described = place.ask(place.sagemaker.describe_endpoint_config, EndpointConfigName=config)
    wanted = rollout.hosting["ProductionVariants"][0].get("InstanceType")
    return bool(described["ProductionVariants"][0].get("InstanceType") != wanted)


def _instances(rollout: Rollout, before: _Before, count: int) -> dict[str, Any]:
    """Keeps as many instances as load has started, where that are more than there are at the start."""
    grown = before.scaling.limits is not None and count > rollout.config.instances
    if not grown or not rollout.config.scales:
        return {}
    return {"RetainAllVariantProperties": True}


def change_config(place: Place, endpoint: str, config: str, **settings: Any) -> Any:
    """Moves an endpoint to a configuration and waits for it; the endpoint as it is then.

    Raises:
        EndpointError: SageMaker put the endpoint back, or it broke.
    """
    for attempt in place.patience.retries():
        try:
            place.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **settings)
            break
        except Exception as error:
            now = _taken(place, endpoint, config) if aws.is_unsure(error) else place.settled(endpoint)
            if now is not None and now["EndpointConfigName"] == config:
                break
            if attempt == place.patience.attempts or not (may_pass(error) or is_missing(error)):
                raise
    return _in_service(endpoint, _taken(place, endpoint, config), config)


def _taken(place: Place, endpoint: str, config: str) -> Any:
    """The endpoint once it was made or updated: SageMaker may describe it as before for a while."""
    for _ in place.patience.looks():
        now = place.settled(endpoint)
        if now is not None and (now["EndpointConfigName"] == config or now["EndpointStatus"] != "InService"):
            break
    return now


def _in_service(endpoint: str, now: Any, config: str) -> Any:
    """The endpoint, if it serves a configuration."""
    if now is None:
        raise EndpointError(f"endpoint {endpoint} was deleted meanwhile")
    if now["EndpointStatus"] != "InService" or now["EndpointConfigName"] != config:
        reason = " ".join(now.get("FailureReason", "SageMaker gives no reason").split())
        raise EndpointError(f"endpoint {endpoint} did not take {config}: {reason}")
    return now


def _ensure_model(rollout: Rollout) -> None:
    create = rollout.place.sagemaker.create_model
    rollout.place.ensure(create, ModelName=rollout.name, Tags=rollout.tags, **rollout.model)


def _ensure_config(rollout: Rollout, name: str, request: dict[str, Any]) -> None:
    create = rollout.place.sagemaker.create_endpoint_config
    rollout.place.ensure(create, EndpointConfigName=name, Tags=rollout.tags, **request)


def _ensure_endpoint(rollout: Rollout, name: str, config: str) -> Any:
    """Makes an endpoint and waits until it serves; a trial that failed before is made again."""
    place = rollout.place
    there = place.settled(name)
    if there is not None and there["EndpointStatus"] != "InService":
        remove_endpoint(place, name)
    create = place.sagemaker.create_endpoint
    place.ensure(create, EndpointName=name, EndpointConfigName=config, Tags=rollout.tags)
    return _in_service(name, _taken(place, name, config), config)


def _remove_config(place: Place, name: str) -> None:
    place.remove(place.sagemaker.delete_endpoint_config, EndpointConfigName=name)


def _remove_model(place: Place, name: str) -> None:
    place.remove(place.sagemaker.delete_model, ModelName=name)


def _put_back(rollout: Rollout, before: _Before | None) -> str:
    """Restores the endpoint and removes what was made; what could not be done, "" for nothing.

    Where the endpoint cannot be restored, what it may be using stays: the next run of the step finds it.
    """
    try:
        if before is None:
            _take_away(rollout)
        else:
            _restore(rollout, before)
        remove_endpoint(rollout.place, rollout.trial_name)
        _remove_config(rollout.place, rollout.trial_name)
        remove_hosting(rollout.place, rollout.endpoint, rollout.name)
        remove_made(rollout.place, rollout.endpoint, keep=before.config if before else "")
    except Exception as error:
        return line(error)
    return ""


def _take_away(rollout: Rollout) -> None:
    place, name = rollout.place, rollout.endpoint
    now = place.settled(name)
    if now is not None:
        if now["EndpointConfigName"] != rollout.name:
            raise EndpointError(f"endpoint {name} was made by somebody else meanwhile")
        scaling.remove(place, name)
    remove_endpoint(place, name)


def _restore(rollout: Rollout, before: _Before) -> None:
    place, name = rollout.place, rollout.endpoint
    now = place.settled(name)
    if now is None:
        raise EndpointError(f"endpoint {name} was deleted meanwhile")
    if now["EndpointConfigName"] != before.config:
        if before.scaling.limits is not None:
            scaling.remove(place, name)  # it may be on other machines by now
        change_config(place, name, before.config)
    scaling.apply(place, name, before.scaling)


def _tidy(rollout: Rollout, previous: str) -> None:
    """Takes away what served before, and what a killed step left."""
    try:
        remove_hosting(rollout.place, rollout.endpoint, previous)
        remove_made(rollout.place, rollout.endpoint, keep=rollout.name)
    except Exception as error:
        what = f"endpoint {rollout.endpoint} serves {rollout.name}, but what served before could not be taken away"
        raise EndpointError(f"{what} ({line(error)}): run this step again") from error
