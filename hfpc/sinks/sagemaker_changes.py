"""Changing SageMaker endpoints, and removing them with what was made for them."""

import re
from typing import Any

from hfpc import aws
from hfpc.errors import EndpointError
from hfpc.sinks.sagemaker_calls import Place, is_changing, is_missing, may_pass

TRIAL = "-trial"


def change_config(place: Place, endpoint: str, config: str, *, keep_instances: bool, **settings: Any) -> Any:
    """Moves an endpoint to a configuration and waits for it; the endpoint as it is then.

    Args:
        place: The region.
        endpoint: Name of the endpoint. What changes it already, as autoscaling does, is waited for.
        config: Name of the configuration.
        keep_instances: Whether as many instances are kept as there are, where that are more than the configuration
            begins with. They are counted just before the change.
        settings: Further settings of `UpdateEndpoint`.

    Raises:
        EndpointError: SageMaker put the endpoint back, or it broke.
    """
    for attempt in place.patience.retries():
        now = place.settled(endpoint)
        if now is None:
            raise EndpointError(f"endpoint {endpoint} was deleted meanwhile")
        retained = _retained(place, now, config) if keep_instances else {}
        try:
            place.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **retained, **settings)
            break
        except Exception as error:
            now = taken(place, endpoint, config) if aws.is_unsure(error) else place.settled(endpoint)
            if now is not None and now["EndpointConfigName"] == config:
                break
            passes = may_pass(error) or is_missing(error) or is_changing(error)
            if attempt == place.patience.attempts or not passes:
                raise
    return in_service(endpoint, taken(place, endpoint, config), config)


def _retained(place: Place, now: Any, config: str) -> dict[str, Any]:
    """Keeps the instances that load has started."""
    described = place.ask(place.sagemaker.describe_endpoint_config, EndpointConfigName=config)
    there = int(now["ProductionVariants"][0].get("DesiredInstanceCount") or 0)
    begins = described["ProductionVariants"][0].get("InitialInstanceCount", 0)
    return {"RetainAllVariantProperties": True} if there > begins else {}


def taken(place: Place, endpoint: str, config: str) -> Any:
    """The endpoint once it was made or updated: SageMaker may describe it as before for a while."""
    for _ in place.patience.looks():
        now = place.settled(endpoint)
        if now is not None and (now["EndpointConfigName"] == config or now["EndpointStatus"] != "InService"):
            break
    return now


def in_service(endpoint: str, now: Any, config: str) -> Any:
    """The endpoint, if it serves a configuration."""
    if now is None:
        raise EndpointError(f"endpoint {endpoint} was deleted meanwhile")
    reason = " ".join(now.get("FailureReason", "SageMaker gives no reason").split())
    if now["EndpointConfigName"] != config:
        raise EndpointError(f"endpoint {endpoint} did not take {config}: {reason}")
    if now["EndpointStatus"] != "InService":
        raise EndpointError(f"endpoint {endpoint} is {now['EndpointStatus']}: {reason}")
    return now


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
        ("EndpointConfig", place.sagemaker.list_endpoint_configs, "EndpointConfigs", remove_config),
        ("Model", place.sagemaker.list_models, "Models", _remove_model),
    )
    for kind, method, key, remove in kinds:
        for item in place.pages(method, key, NameContains=f"{endpoint}-"):
            name, arn = item[f"{kind}Name"], item[f"{kind}Arn"]
            if name != keep and is_made(endpoint, name) and place.is_ours(arn, endpoint):
                remove(place, name)


def remove_hosting(place: Place, endpoint: str, name: str) -> None:
    """Removes a configuration and its model, which were made for an endpoint, by their name.

    Lists do not name at once what was just made.
    """
    if is_made(endpoint, name):
        remove_config(place, name)
        _remove_model(place, name)


def remove_config(place: Place, name: str) -> None:
    """Removes a configuration that may be gone already."""
    place.remove(place.sagemaker.delete_endpoint_config, EndpointConfigName=name)


def is_made(endpoint: str, name: str) -> bool:
    """Whether this is a name that is given here to what belongs to an endpoint."""
    return re.fullmatch(rf"{re.escape(endpoint)}-[0-9a-f]{{16}}({TRIAL})?", name) is not None


def _remove_model(place: Place, name: str) -> None:
    place.remove(place.sagemaker.delete_model, ModelName=name)
