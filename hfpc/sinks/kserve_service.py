"""How a model is served by KServe, and the InferenceService that says so."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hfpc import images
from hfpc.errors import ArgumentError
from hfpc.redaction import MASK, redacted
from hfpc.sinks.kubernetes_calls import GIVEN, MANAGED, Kind, check_labels, check_name, check_resources
from hfpc.sinks.rare_settings import rare_settings

INFERENCE_SERVICE = Kind("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService", "KServe")
FINGERPRINT = "hfpc/fingerprint"
"""Label: the model that serves."""
DEPLOYMENT = "hfpc/deployment"
"""Label: the model and how it is served, so that a step finds what it made before."""
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
"""Annotation: how long Knative gives a revision until it counts as failed; without it that is ten minutes."""
MODE = "serving.kserve.io/deploymentMode"
"""Annotation: KServe's deployment mode."""
TRIAL_OF = "hfpc/trial-of"
"""Label of the service that a model is tried at."""

RUNTIMES = ("hfpc", "huggingface")
STORES = ("gs://", "s3://", "hf://", "pvc://")
_MODES = ("", "Knative", "Serverless", "Standard", "RawDeployment")
_METRICS = {True: ("cpu", "memory"), False: ("concurrency", "rps")}
"""Whether a service has plain Deployments, to what those are scaled by."""
_PORT = 8080
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
_TOLERATION = {"key", "operator", "value", "effect"}
_GPUS = "nvidia.com/gpu"

RARE: dict[str, type] = {
    "scale_metric": str,
    "image": str,
    "deployment_mode": str,
    "environment": dict,
    "node_selector": dict,
    "tolerations": list,
    "labels": dict,
    "ready_seconds": float,
}
"""Settings that the component takes in `extra`, and what each is."""


@dataclass(frozen=True, kw_only=True)
class DeployKserveConfig:
    """How a model is served.

    Attributes:
        name: Name of the InferenceService: lower case letters, digits and hyphens, at most 40. The same name is the
            same service; it is made if there is none.
        namespace: Namespace; "" for the one that this code runs in, or that the kubeconfig names.
        storage_uri: What KServe loads, `gs://…`, `s3://…`, `hf://…` or `pvc://…`; "" where the model itself lies in
            one of the first two.
        runtime: "hfpc" for this package's serving image, "huggingface" for KServe's own Hugging Face runtime.
        image: Serving image of the runtime hfpc; "" takes this package's own.
        resources: What a replica asks for and is limited to, e.g. `{"cpu": "2", "nvidia.com/gpu": "1"}`.
        min_replicas: Replicas that always serve; 0 lets Knative stop them all while nobody asks.
        max_replicas: Most replicas that load may start.
        scale_target: How much of `scale_metric` one replica takes before another is started; 0 leaves it to KServe.
        scale_metric: "concurrency" or "rps" with Knative, "cpu" or "memory" in Standard mode; "" leaves it to KServe.
        canary_percent: Share of the traffic that the new model gets first; 0 moves all at once. Needs Knative.
        canary_seconds: How long it has that share.
        service_account: Service account of the pods, which also tells KServe how to read the store.
        deployment_mode: "Knative" or "Standard" (before KServe 0.16 "Serverless" and "RawDeployment"); "" leaves it to
            the cluster.
        ingress: `http://HOST:PORT` that requests are sent to with the service's host name; "" asks the service's URL,
            and in a pod its address in the cluster.
        environment: Environment variables of the container; no secrets.
        node_selector: Labels of the nodes that may serve. Knative refuses them unless its feature
            `kubernetes.podspec-nodeselector` is enabled.
        tolerations: Taints that the pods put up with: key, operator, value and effect as Kubernetes has them. That of
            nodes with NVIDIA's GPUs is added in Standard mode where `resources` has some; Knative refuses any unless
            its feature `kubernetes.podspec-tolerations` is enabled.
        labels: Labels beside our own.
        ready_seconds: How long a revision may take until it serves.

    Raises:
        ArgumentError: A value cannot be used.
    """

    name: str
    namespace: str = ""
    storage_uri: str = ""
    runtime: str = "hfpc"
    image: str = ""
    resources: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "2Gi"})
    min_replicas: int = 1
    max_replicas: int = 1
    scale_target: int = 0
    scale_metric: str = ""
    canary_percent: int = 0
    canary_seconds: float = 300.0
    service_account: str = ""
    deployment_mode: str = ""
    ingress: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = 1800.0

    def __post_init__(self) -> None:
        check_name(self.name, "name", 40)
        if self.namespace:
            check_name(self.namespace, "namespace", 63)
        if self.service_account:
            check_name(self.service_account, "service_account", 63)
        self._check_source()
        check_resources(self.resources)
        self._check_replicas()
        self._check_canary()
        if self.ingress and not re.fullmatch("https?://[^/@ ]+", self.ingress):
            raise ArgumentError("ingress", self.ingress, "give http://HOST:PORT")
        for variable, value in self.environment.items():
            if not _VARIABLE.fullmatch(variable) or not isinstance(value, str) or redacted("secret", variable) == MASK:
                fix = "give text, and no secret: whoever may see the service could read it"
                raise ArgumentError("environment", {variable: MASK}, fix)
        check_labels(self.node_selector, "node_selector")
        for each in self.tolerations:
            texts = isinstance(each, Mapping) and all(isinstance(value, str) for value in each.values())
            if not texts or not set(each) <= _TOLERATION:
                raise ArgumentError("tolerations", each, f"give texts for {', '.join(sorted(_TOLERATION))}")
        check_labels(self.labels, "labels")

    def _check_source(self) -> None:
        if self.storage_uri and not self.storage_uri.startswith(STORES):
            raise ArgumentError("storage_uri", self.storage_uri, f"give one of {', '.join(STORES)}")
        if self.runtime not in RUNTIMES:
            raise ArgumentError("runtime", self.runtime, f"give one of {', '.join(RUNTIMES)}")
        if self.image and self.runtime != "hfpc":
            raise ArgumentError("image", self.image, "leave it empty: KServe knows the image of its own runtime")
        if self.deployment_mode not in _MODES:
            raise ArgumentError(
                "deployment_mode", self.deployment_mode, f"give one of {', '.join(_MODES[1:])}, or none"
            )

    def _check_replicas(self) -> None:
        if self.min_replicas < 0:
            raise ArgumentError("min_replicas", self.min_replicas, "give 0 or more")
        if self.min_replicas == 0 and is_standard(self.deployment_mode):
            raise ArgumentError("min_replicas", 0, "give at least 1: only Knative stops what nobody asks")
        if self.max_replicas < max(1, self.min_replicas):
            fix = f"give at least 1, and at least min_replicas={self.min_replicas}"
            raise ArgumentError("max_replicas", self.max_replicas, fix)
        if self.scale_target < 0:
            raise ArgumentError("scale_target", self.scale_target, "give a whole number above 0, or 0 for KServe's own")
        metrics = (*_METRICS[False], *_METRICS[True])
        if self.scale_metric and self.scale_metric not in metrics:
            raise ArgumentError("scale_metric", self.scale_metric, f"give one of {', '.join(metrics)}, or none")
        check_metric(self.scale_metric, self.deployment_mode)
        if not 1 <= self.ready_seconds <= 24 * 3600:
            raise ArgumentError("ready_seconds", self.ready_seconds, "give seconds, 1 to 86400 (a day)")

    def _check_canary(self) -> None:
        if not 0 <= self.canary_percent < 100:
            raise ArgumentError("canary_percent", self.canary_percent, "give percent, 0 to 99")
        if self.canary_percent and is_standard(self.deployment_mode):
            raise ArgumentError("canary_percent", self.canary_percent, "give 0: only Knative divides traffic")
        if not 0 <= self.canary_seconds <= 6 * 3600:
            raise ArgumentError("canary_seconds", self.canary_seconds, "give seconds, 0 to 21600 (six hours)")


def extra_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The rare settings of a deployment.

    Raises:
        ArgumentError: One is unknown, or of another type.
    """
    return rare_settings(extra, RARE)


def is_standard(mode: str) -> bool:
    """Whether a service has plain Deployments, without revisions to divide traffic between."""
    return mode in ("Standard", "RawDeployment")


def check_metric(metric: str, mode: str) -> None:
    """Raises ArgumentError where services of a mode, if it is known, are not scaled by a metric.

    KServe itself refuses those of Standard mode under Knative only; in Standard mode it takes all, and never scales.
    """
    known = _METRICS[is_standard(mode)]
    if metric and mode and metric not in known:
        raise ArgumentError("scale_metric", metric, f"give {' or '.join(known)}: by nothing else mode {mode} scales")


def service(config: DeployKserveConfig, storage_uri: str, fingerprint: str) -> dict[str, Any]:
    """The InferenceService of a model."""
    spec = {"predictor": _predictor(config, storage_uri)}
    annotations = {"serving.kserve.io/enable-tag-routing": "true"}
    if config.deployment_mode:
        annotations[MODE] = config.deployment_mode
    if config.labels:
        annotations[GIVEN] = ",".join(sorted(config.labels))
    told = json.dumps([spec, annotations, dict(config.labels), fingerprint], sort_keys=True)
    labels = {
        **config.labels,
        **MANAGED,
        FINGERPRINT: fingerprint[:40],
        DEPLOYMENT: hashlib.sha256(told.encode()).hexdigest()[:40],
    }
    annotations[PROGRESS_DEADLINE] = f"{math.ceil(config.ready_seconds)}s"  # Knative takes whole seconds only
    return {"metadata": {"name": config.name, "labels": labels, "annotations": annotations}, "spec": spec}


def trial_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a name of its own and one replica, to be asked before anybody depends on it."""
    metadata = body["metadata"]
    predictor = {**body["spec"]["predictor"], "minReplicas": 1, "maxReplicas": 1}
    labels = {**metadata["labels"], TRIAL_OF: metadata["name"]}
    return {
        "metadata": {**metadata, "name": f"{metadata['name']}-trial", "labels": labels},
        "spec": {"predictor": predictor},
    }


def with_canary(body: Mapping[str, Any], percent: int) -> dict[str, Any]:
    """The same with a share of the traffic only."""
    return {**body, "spec": {"predictor": {**body["spec"]["predictor"], "canaryTrafficPercent": percent}}}


def _predictor(config: DeployKserveConfig, storage_uri: str) -> dict[str, Any]:
    predictor: dict[str, Any] = {"minReplicas": config.min_replicas, "maxReplicas": config.max_replicas}
    if config.scale_target:
        predictor["scaleTarget"] = config.scale_target
    if config.scale_metric:
        predictor["scaleMetric"] = config.scale_metric
    if config.service_account:
        predictor["serviceAccountName"] = config.service_account
    if config.node_selector:
        predictor["nodeSelector"] = dict(config.node_selector)
    if tolerations := _tolerations(config):
        predictor["tolerations"] = tolerations
    if config.runtime == "hfpc":
        return {**predictor, "containers": [_container(config, storage_uri)]}
    return {**predictor, "model": _model(config, storage_uri)}


def _tolerations(config: DeployKserveConfig) -> list[dict[str, str]]:
    """Taints that the pods put up with.

    Knative does not take any as it is installed, and a cluster may add that of GPUs itself: so not by default.
    """
    given = [dict(each) for each in config.tolerations]
    if _GPUS not in config.resources or not is_standard(config.deployment_mode):
        return given
    usual = {"key": _GPUS, "operator": "Exists", "effect": "NoSchedule"}
    return given if usual in given else [*given, usual]


def _resources(config: DeployKserveConfig) -> dict[str, Any]:
    return {"requests": dict(config.resources), "limits": dict(config.resources)}


def _environment(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(variables.items())]


def _container(config: DeployKserveConfig, storage_uri: str) -> dict[str, Any]:
    """Our server, as a predictor of its own: KServe downloads what `STORAGE_URI` names to /mnt/models."""
    own = {"STORAGE_URI": storage_uri, "HFPC_MODEL_NAME": config.name}
    return {
        "name": "kserve-container",
        "image": config.image or images.SERVING,
        "env": _environment({**config.environment, **own}),
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": _PORT}},
        "resources": _resources(config),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
    }


def _model(config: DeployKserveConfig, storage_uri: str) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": "huggingface"},
        "protocolVersion": "v1",
        "args": [f"--model_name={config.name}"],
        "storageUri": storage_uri,
        "resources": _resources(config),
    }
    return {**model, "env": _environment(config.environment)} if config.environment else model
