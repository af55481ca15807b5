"""Models and settings for the tests of KServe."""

from collections.abc import Callable
from typing import Any

from hfpc.errors import HfpcError
from hfpc.sinks.kserve import DeployKserveConfig
from hfpc.sinks.patience import Patience
from tests.cloud.kubernetes import NAMESPACE
from tests.cloud.kubernetes_fixtures import Cluster
from tests.cloud.kubernetes_kserve import uri_of

QUICK = Patience(call=10.0, total=120.0, pause=0.002, retry=0.001, settle=0.01, attempts=3)


def deployment(cluster: Cluster, **changes: Any) -> DeployKserveConfig:
    settings = {"name": "tweets", "storage_uri": "pvc://models/old", "ingress": cluster.gateway.address}
    return DeployKserveConfig(**{**settings, **changes})


def state(cluster: Cluster) -> dict[str, tuple[Any, ...]]:
    """Service to its deployment, what it loads, its replicas and canary, and what has its traffic."""
    found = {}
    for (plural, space, name), item in cluster.api.objects.items():
        assert (plural, space) == ("inferenceservices", NAMESPACE)
        predictor, labels = item["spec"]["predictor"], item["metadata"]["labels"]
        service = cluster.kserve.services.get(item["metadata"]["uid"])
        shares = {} if service is None else service.traffic  # one that nobody has looked at yet has none
        traffic = {uri_of(service.revision(key).predictor): share for key, share in shares.items() if share}
        canary = predictor.get("canaryTrafficPercent")
        found[name] = (labels["hfpc/deployment"], uri_of(predictor), sorted(labels.items()), canary, traffic)
    return found


def told_by(step: Callable[[], object]) -> str:
    """The error that a step ends with; "" where it ends well."""
    try:
        step()
    except HfpcError as error:
        return str(error)
    return ""


def kill(
    cluster: Cluster, step: Callable[[], object], *, answers: int = 0, changes: int = 0, removals: int = 0
) -> None:
    """Lets a step get so many answers, and make so many changes and removals, and nothing more, as if it was killed."""
    faults = cluster.api.faults
    faults.clear()
    for index, call in ((answers, "predict"), (changes, "PUT"), (removals, "DELETE")):
        faults.plan(index, "error", 10_000, method=call if call == "predict" else f"{call} inferenceservices")
    assert "not everything could be put back" in told_by(step)
    faults.clear()
