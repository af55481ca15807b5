"""Bringing a model to a SageMaker endpoint, and everything back to what it was if that fails.

SageMaker moves traffic by itself once an endpoint is told to update, so a new model is first tried at an endpoint of
its own: what answers otherwise than it should never gets a request of anybody else.
"""

from dataclasses import dataclass, field
from typing import Any

from hfpc.errors import EndpointError
from hfpc.sinks import sagemaker_scaling as scaling
from hfpc.sinks.cancelling import cancellable
from hfpc.sinks.sagemaker_calls import Place, line
from hfpc.sinks.sagemaker_changes import (
    TRIAL,
    change_config,
    in_service,
    is_made,
    remove_config,
    remove_endpoint,
    remove_hosting,
    remove_made,
    taken,
)
from hfpc.sinks.sagemaker_hosting import DeploySagemakerEndpointConfig
from hfpc.sinks.sagemaker_requests import Completion, Golden, check_golden
from hfpc.sinks.sagemaker_scaling import Scaling

PROVEN_TAG = "hfpc:proven"
"""Tag of an endpoint with the configuration that last answered rightly there; "" for none, as at the beginning."""

SCALING_TAG = "hfpc:scaling"
"""Tag of an endpoint with its scaling before the update that runs; "" while none does."""

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
        expected: What the model is asked before it serves; None for nothing.
    """

    place: Place
    config: DeploySagemakerEndpointConfig
    name: str
    model: dict[str, Any]
    hosting: dict[str, Any]
    trial: dict[str, Any]
    shift: dict[str, Any]
    tags: list[dict[str, str]]
    expected: Golden | Completion | None

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
        moved: Whether the endpoint was changed, perhaps by a step that was killed before it had tested it.
    """

    arn: str
    previous: str
    moved: bool


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What there was.

    Attributes:
        config: Configuration to go back to: the last one that answered rightly; "" for none.
        found: Configuration that serves; "" where there is no endpoint. A killed step may have left it untested.
        scaling: How the endpoint was scaled.
        noted: Whether a step ended, by force, before it could clear its note of the scaling.
    """

    config: str = ""
    found: str = ""
    scaling: Scaling = field(default_factory=Scaling)
    noted: bool = False


@cancellable()
def roll_out(rollout: Rollout) -> Outcome:
    """Makes, tries, updates, checks, and takes what served before away.

    What serves already, and answered rightly once, is left as it is also where it answers otherwise now: there is
    nothing any more to go back to.

    Raises:
        EndpointError: It failed; the message says whether everything is as before.
    """
    place, name = rollout.place, rollout.endpoint
    found = _usable(rollout)
    before = _before(rollout, found)
    if found is not None and before.config == before.found == rollout.name:
        scaling.apply(place, name, scaling.wanted(rollout.config, before.scaling))
        if before.noted:
            _note(place, found, rollout.name)
        check_golden(place, name, rollout.expected, rollout.config.output_uri, rollout.config.kms_key)
        _tidy(rollout, "")
        return Outcome(arn=found["EndpointArn"], previous="", moved=False)
    if found is not None:
        _check_change(rollout, before)
    try:
        now = _bring(rollout, found, before)
    except (Exception, KeyboardInterrupt) as error:
        problem = _put_back(rollout, before)
        after = f"not everything could be put back ({problem})" if problem else "everything is as before"
        raise EndpointError(f"{line(error)}; {after}") from error
    _tidy(rollout, before.config)
    return Outcome(arn=now["EndpointArn"], previous=before.config, moved=True)


def _before(rollout: Rollout, found: Any) -> _Before:
    """What to go back to. An endpoint without tags was made by an earlier version, which serves what it has tested."""
    if found is None:
        return _Before()
    place, name = rollout.place, rollout.endpoint
    tags = place.tags(found["EndpointArn"])
    now, note = scaling.read(place, name), tags.get(SCALING_TAG, "")
    there = scaling.from_note(note, rollout.config, now) if note else now
    config = _proven(name, found, tags)
    return _Before(config=config, found=found["EndpointConfigName"], scaling=there, noted=bool(note))


def _proven(name: str, endpoint: Any, tags: dict[str, str]) -> str:
    """The configuration that last answered rightly at an endpoint; what others have put there is as good."""
    serves: str = endpoint["EndpointConfigName"]
    return tags.get(PROVEN_TAG, serves) if is_made(name, serves) else serves


def _bring(rollout: Rollout, found: Any, before: _Before) -> Any:
    """From the model to an endpoint that answers rightly; the endpoint.

    What a killed step brought to the endpoint and did not test is tested now.
    """
    place, name = rollout.place, rollout.endpoint
    if found is None:
        _first(rollout)
    elif before.found != rollout.name:
        _update(rollout, found, before)
    # Before the check: without what wakes it, an async endpoint that has gone to no instance answers nothing.
    scaling.apply(place, name, scaling.wanted(rollout.config, before.scaling))
    check_golden(place, name, rollout.expected, rollout.config.output_uri, rollout.config.kms_key)
    now = in_service(name, taken(place, name, rollout.name), rollout.name)
    _note(place, now, rollout.name)
    return now


def _note(place: Place, endpoint: Any, proven: str, note: str = "") -> None:
    """Notes at an endpoint what has answered rightly there, and how it is scaled, for steps to come."""
    tags = [{"Key": PROVEN_TAG, "Value": proven}, {"Key": SCALING_TAG, "Value": note}]
    place.ask(place.sagemaker.add_tags, ResourceArn=endpoint["EndpointArn"], Tags=tags)


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


def _check_change(rollout: Rollout, before: _Before) -> None:
    """Makes sure, before anything is made, that the endpoint can be changed so, and back.

    Raises:
        ArgumentError: It would get another instance type, and not all of its scaling back.
        EndpointError: It is of another mode, which SageMaker cannot update.
    """
    place, config = rollout.place, before.found
    described = place.found(place.sagemaker.describe_endpoint_config, EndpointConfigName=config)
    if described is None:
        raise EndpointError(f"the configuration {config} of endpoint {rollout.endpoint} is gone: undeploy it first")
    parts = {*described, *described["ProductionVariants"][0]}
    mode = next((mode for mode, part in _MODES.items() if part in parts), "realtime")
    if mode != rollout.config.mode:
        fix = f"undeploy it first, or give another endpoint_name for mode {rollout.config.mode}"
        raise EndpointError(f"endpoint {rollout.endpoint} is {mode}, and an endpoint keeps its mode: {fix}")
    if _has_other_machines(rollout, described):
        scaling.check_movable(place, rollout.endpoint, rollout.config.instance_type, before.scaling)


def _first(rollout: Rollout) -> None:
    """Makes the endpoint: nobody is served yet, so it can be tried where it will serve."""
    _ensure_model(rollout)
    _ensure_config(rollout, rollout.name, rollout.hosting)
    _ensure_endpoint(rollout, rollout.endpoint, rollout.name, [*rollout.tags, {"Key": PROVEN_TAG, "Value": ""}])


def _update(rollout: Rollout, found: Any, before: _Before) -> None:
    """Tries the model, then moves the endpoint to it."""
    place, trial = rollout.place, rollout.trial_name
    _ensure_model(rollout)
    _ensure_config(rollout, trial, rollout.trial)
    _ensure_endpoint(rollout, trial, trial, rollout.tags)
    check_golden(place, trial, rollout.expected, rollout.config.output_uri, rollout.config.kms_key)
    _end_trial(rollout)
    _ensure_config(rollout, rollout.name, rollout.hosting)
    _check_unchanged(rollout, before)
    _note(place, found, before.config, scaling.noted(before.scaling))
    after = scaling.wanted(rollout.config, before.scaling)
    keeps = before.scaling.limits is not None and after.limits is not None
    _move(rollout, rollout.name, other=before.found, keep_instances=keeps, **rollout.shift)


def _check_unchanged(rollout: Rollout, before: _Before) -> None:
    """Raises EndpointError where somebody else deployed during the trial: there would be no way back to that."""
    place, name = rollout.place, rollout.endpoint
    now = place.settled(name)
    if now is None or now["EndpointConfigName"] != before.found:
        raise EndpointError(f"endpoint {name} was changed by somebody else meanwhile")
    if _proven(name, now, place.tags(now["EndpointArn"])) != before.config:
        raise EndpointError(f"another step deploys to endpoint {name}: run this step again")


def _move(rollout: Rollout, config: str, *, other: str, keep_instances: bool, **settings: Any) -> None:
    """Moves the endpoint between the configuration of this rollout and another one, to `config`."""
    place, name = rollout.place, rollout.endpoint
    if _has_other_machines(rollout, place.ask(place.sagemaker.describe_endpoint_config, EndpointConfigName=other)):
        scaling.remove(place, name)  # SageMaker refuses to change the instance type of what is scaled
        keep_instances = False
    change_config(place, name, config, keep_instances=keep_instances, **settings)


def _has_other_machines(rollout: Rollout, config: Any) -> bool:
    """Whether a configuration, as SageMaker describes it, has another instance type than this rollout."""
    wanted = rollout.hosting["ProductionVariants"][0].get("InstanceType")
    return bool(config["ProductionVariants"][0].get("InstanceType") != wanted)


def _ensure_model(rollout: Rollout) -> None:
    create = rollout.place.sagemaker.create_model
    rollout.place.ensure(create, ModelName=rollout.name, Tags=rollout.tags, **rollout.model)


def _ensure_config(rollout: Rollout, name: str, request: dict[str, Any]) -> None:
    create = rollout.place.sagemaker.create_endpoint_config
    rollout.place.ensure(create, EndpointConfigName=name, Tags=rollout.tags, **request)


def _ensure_endpoint(rollout: Rollout, name: str, config: str, tags: list[dict[str, str]]) -> None:
    """Makes an endpoint and waits until it serves; a trial that failed before is made again."""
    place = rollout.place
    there = place.settled(name)
    if there is not None and there["EndpointStatus"] != "InService":
        remove_endpoint(place, name)
    create = place.sagemaker.create_endpoint
    place.ensure(create, EndpointName=name, EndpointConfigName=config, Tags=tags)
    in_service(name, taken(place, name, config), config)


def _end_trial(rollout: Rollout) -> None:
    remove_endpoint(rollout.place, rollout.trial_name)
    remove_config(rollout.place, rollout.trial_name)


def _put_back(rollout: Rollout, before: _Before) -> str:
    """Restores the endpoint and removes what was made; what could not be done, "" for nothing.

    Where the endpoint cannot be restored, what it may be using stays: the next run of the step finds it.
    """
    problems, unused = [], False
    try:
        if not _restore(rollout, before):
            problems.append(f"endpoint {rollout.endpoint} was changed or deleted by somebody else meanwhile")
        unused = True
    except Exception as error:
        problems.append(line(error))
    try:
        _end_trial(rollout)
        if unused:
            remove_hosting(rollout.place, rollout.endpoint, rollout.name)
    except Exception as error:
        problems.append(line(error))
    return "; ".join(problems)


def _restore(rollout: Rollout, before: _Before) -> bool:
    """Gives the endpoint back what it had; False where somebody else has changed it: that is left to them."""
    place, name = rollout.place, rollout.endpoint
    now = place.settled(name)
    serves = "" if now is None else now["EndpointConfigName"]
    if serves not in (rollout.name, before.found, before.config):
        return False
    if serves in ("", rollout.name) and not before.config:
        # Nothing has ever answered rightly there. It may have been made just now, and not be seen yet.
        scaling.remove(place, name)
        remove_endpoint(place, name)
        return True
    if serves == rollout.name:
        keeps = before.scaling.limits is not None
        _move(rollout, before.config, other=before.config, keep_instances=keeps)
    else:
        in_service(name, now, serves)
    scaling.apply(place, name, before.scaling)
    _note(place, now, before.config)
    return True


def _tidy(rollout: Rollout, previous: str) -> None:
    """Takes away what served before, and what a killed step left."""
    try:
        remove_hosting(rollout.place, rollout.endpoint, previous)
        remove_made(rollout.place, rollout.endpoint, keep=rollout.name)
    except Exception as error:
        what = f"endpoint {rollout.endpoint} serves {rollout.name}, but what served before could not be taken away"
        raise EndpointError(f"{what} ({line(error)}): run this step again") from error
