"""What the status of an InferenceService says, and what a rollout noted in the service itself."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hfpc.errors import EndpointError
from hfpc.sinks.kserve_service import DEPLOYMENT, MODE, is_standard
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


def mode_of(found: Mapping[str, Any]) -> str:
    """The deployment mode of a service; "" where nothing says it, which means Knative once it is ready.

    KServe before 0.15.1 does not write it into the status. An annotation asks for it, which KServe's webhook adds
    where Standard mode is the cluster's default.
    """
    told = found.get("status", {}).get("deploymentMode", "")
    return str(told or annotations_of(found).get(MODE, ""))


def serves(space: Namespace, found: Mapping[str, Any], percent: int = 100) -> bool:
    """Whether the newest revision of a service is ready and has this share of the traffic."""
    told, mark = found.get("status", {}), marked_in(found)
    if _condition(told, "Ready").get("status") != "True" or (mark and mark_of(found) == mark):
        return False
    if is_standard(mode_of(found)):
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
    return "its Deployment has not replaced all pods" if is_standard(mode_of(found)) else ""


def url_of(found: Mapping[str, Any], ingress: str = "") -> str:
    """Where a service answers who asks from here; "" while it does not.

    Args:
        found: The service.
        ingress: What is asked in the place of the host of its URL; "" for none.
    """
    status = found.get("status", {})
    return (_inside(status) if _is_inside(ingress) else "") or str(status.get("url", ""))


def revision_url(found: Mapping[str, Any], ingress: str = "") -> str:
    """Where the newest revision alone answers; "" where the cluster gives it no address of its own."""
    predictor = found["status"].get("components", {}).get("predictor", {})
    traffic = predictor.get("traffic") or []
    newest = next((each for each in traffic if each.get("latestRevision") and each.get("url")), None)
    if newest is None:
        return ""
    inside = _inside(predictor) if _is_inside(ingress) else ""
    if not inside:
        return str(newest["url"])
    # Knative tells the outer address only, and makes an inner one of the same form beside it.
    return f"{urlsplit(inside).scheme}://{newest['tag']}-{urlsplit(inside).netloc}"


def _is_inside(ingress: str) -> bool:
    """Whether a service is asked by its address in the cluster.

    In a pod the domain of its URL may mean nothing, as Knative's own, example.com, does. An ingress knows that alone.
    """
    return not ingress and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _inside(status: Mapping[str, Any]) -> str:
    """The address in the cluster; "" where none is told."""
    return str((status.get("address") or {}).get("url", ""))


def is_divided(found: Mapping[str, Any]) -> bool:
    """Whether another revision than the newest has, or would have, all traffic that the newest is not given."""
    predictor = found.get("status", {}).get("components", {}).get("predictor", {})
    rolled = predictor.get("latestRolledoutRevision")
    return bool(rolled) and rolled != predictor.get("latestCreatedRevision")
