"""What the status of an InferenceService says, and what a rollout noted in the service itself."""

from collections.abc import Mapping
from typing import Any

from hfpc.errors import EndpointError
from hfpc.sinks.kserve_service import DEPLOYMENT, is_standard
from hfpc.sinks.kubernetes_calls import OWN, Kind, Namespace, line, status

PREVIOUS = f"{OWN}previous"
"""Annotation: what the service was before, so that a step which was killed can still be rolled back.

It stays, as MARK does, and means nothing once the service was tested: to remove it would make a revision."""
MARK = f"{OWN}mark"
"""Annotation: what the controller had done before the service was changed last; see `mark_of`."""

_PODS = Kind("apps", "v1", "deployments", "Deployment", "Kubernetes")
_FAILED = ("BlockedByFailedLoad", "InvalidSpec")


def deployment_of(found: Mapping[str, Any]) -> str:
    """What tells the deployment of a service from others; "" for none of ours."""
    return str((found["metadata"].get("labels") or {}).get(DEPLOYMENT, ""))


def annotations_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a service, none where it has none."""
    return dict(found["metadata"].get("annotations") or {})


def is_tested(found: Mapping[str, Any]) -> bool:
    """Whether the model of a service has once answered rightly with all of the traffic."""
    return "canaryTrafficPercent" not in found["spec"]["predictor"]


def is_begun(found: Mapping[str, Any]) -> bool:
    """Whether the first deployment of a service did not come to its end: its first change would have been that."""
    return not is_tested(found) and found["metadata"]["generation"] == 1


def mark_of(found: Mapping[str, Any]) -> str:
    """What changes once the controller has seen a change of a service: its newest revision, or its Deployment's."""
    status = found.get("status", {})
    revision = status.get("components", {}).get("predictor", {}).get("latestCreatedRevision", "")
    return str(revision or status.get("observedGeneration", ""))


def marked_in(found: Mapping[str, Any]) -> str:
    """What a service had as its mark when it was changed last; "" when it was made."""
    return annotations_of(found).get(MARK, "")


def serves(space: Namespace, found: Mapping[str, Any], percent: int = 100) -> bool:
    """Whether the newest revision of a service is ready and has this share of the traffic."""
    told, mark = found.get("status", {}), marked_in(found)
    if _condition(told, "Ready").get("status") != "True" or (mark and mark_of(found) == mark):
        return False
    if is_standard(str(told.get("deploymentMode", ""))):
        return has_replaced(space, found["metadata"]["name"])
    if found["spec"]["predictor"].get("canaryTrafficPercent", 100) != percent:
        return False
    predictor = told.get("components", {}).get("predictor", {})
    newest = predictor.get("latestCreatedRevision")
    traffic = predictor.get("traffic") or []
    share = sum(each.get("percent") or 0 for each in traffic if each.get("revisionName") == newest)
    return bool(newest) and newest == predictor.get("latestReadyRevision") and share == percent


def has_replaced(space: Namespace, name: str) -> bool:
    """Whether a Deployment has no pods but new ones: in Standard mode a service is ready with the old ones too.

    Raises:
        EndpointError: The caller may not look at Deployments.
    """
    try:
        found = space.get(_PODS, f"{name}-predictor")
    except Exception as error:
        if status(error) == 403:
            fix = "whoever deploys in Standard mode needs get of deployments.apps, to see when the pods are replaced"
            raise EndpointError(f"{line(error)}: {fix}") from error
        raise
    if found is None:
        return False
    told = found.get("status", {})
    replicas, updated, available = (told.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas"))
    seen = told.get("observedGeneration", 0) >= found["metadata"]["generation"]
    return bool(seen and found["spec"].get("replicas", 1) == updated == replicas == available)


def _condition(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next((each for each in status.get("conditions") or [] if each.get("type") == name), {})


def check_loading(name: str, found: Mapping[str, Any]) -> None:
    """Raises EndpointError where waiting would be in vain."""
    model = found.get("status", {}).get("modelStatus", {})
    if model.get("transitionStatus") not in _FAILED:
        return
    info = model.get("lastFailureInfo", {})
    reason = " ".join(f"{info.get('reason', model['transitionStatus'])}: {info.get('message', '')}".split())
    raise EndpointError(f"{name} cannot load its model ({reason[:500]}): see the logs of its pods")


def told_by(found: Mapping[str, Any]) -> str:
    """What the controller says that it waits for, in one line."""
    for each in found.get("status", {}).get("conditions") or []:
        if each.get("status") != "True" and (each.get("message") or each.get("reason")):
            said = f"{each['type']}: {each.get('reason', '')} {each.get('message', '')}"
            return " ".join(said.split())[:200]
    mode = str(found.get("status", {}).get("deploymentMode", ""))
    return "its Deployment has not replaced all pods" if is_standard(mode) else ""


def url_of(found: Mapping[str, Any]) -> str:
    """Where a service answers; "" while it does not."""
    return str(found.get("status", {}).get("url", ""))


def revision_url(found: Mapping[str, Any]) -> str:
    """Where the newest revision alone answers; "" where the cluster gives it no address of its own."""
    traffic = found["status"].get("components", {}).get("predictor", {}).get("traffic") or []
    return next((str(each["url"]) for each in traffic if each.get("latestRevision") and each.get("url")), "")


def is_divided(found: Mapping[str, Any]) -> bool:
    """Whether another revision than the newest has, or would have, all traffic that the newest is not given."""
    predictor = found.get("status", {}).get("components", {}).get("predictor", {})
    rolled = predictor.get("latestRolledoutRevision")
    return bool(rolled) and rolled != predictor.get("latestCreatedRevision")
