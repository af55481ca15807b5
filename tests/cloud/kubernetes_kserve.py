"""KServe on the loopback cluster: revisions that are served by this project's own server, and traffic between them.

Which revision has traffic is computed as KServe's controller and Knative do it (KServe's canary rollout: the last
revision that had all of it keeps what the newest is not given), with a status that lags behind by one look.
"""

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.kubernetes_containers import Containers

DOMAIN = "example.com"
"""Knative's own, which nothing inside of the cluster leads to."""
INSIDE = "svc.cluster.local"
MODE = "serving.kserve.io/deploymentMode"
STANDARD = ("Standard", "RawDeployment")
_LOOKS = 2
"""How often a service is looked at before a new revision of it is ready, at least."""


@dataclass
class Revision:
    """What a service was told to be at some time."""

    name: str
    template: dict[str, Any]
    predictor: dict[str, Any]
    looks: int = 0
    failure: str = ""
    ready: bool = False


@dataclass
class Service:
    """The revisions of a service, the newest last, and who has traffic: revision to percent.

    In Standard mode they are those of a Deployment, whose namespace and name are `deployment`.
    """

    deployment: tuple[str, str] = ("", "")
    revisions: list[Revision] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    traffic: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def revision(self, name: str) -> Revision:
        return next(each for each in self.revisions if each.name == name)


class KServe:
    """The controller of InferenceServices.

    Attributes:
        containers: What serves the revisions.
        services: UID of an InferenceService to its revisions.
        held: What is loaded by revisions that never become ready.
        history: Every share of traffic that a model ever had: service, what it loads, percent.
        default_mode: Deployment mode of services that ask for none.
        tells_mode: Whether the status has the mode, as from KServe 0.15.1 on.
        schedules: Whether Knative takes node selectors and tolerations; not as it is installed.
        path: Path below the domain that services answer at, as Kubeflow sets it up; "" for hosts of their own.
    """

    def __init__(self, containers: Containers) -> None:
        self.containers = containers
        self.services: dict[str, Service] = {}
        self.reset()

    def reset(self) -> None:
        """Sets up the cluster as it is installed, without a history."""
        self.held: set[str] = set()
        self.history: list[tuple[str, str, int]] = []
        self.default_mode, self.tells_mode, self.schedules, self.path = "Knative", True, False, ""

    def check(self, body: dict[str, Any]) -> str:
        """The webhooks: the first notes Standard mode in a service where it is the cluster's default."""
        predictor = body["spec"]["predictor"]
        if self.default_mode in STANDARD:
            body["metadata"].setdefault("annotations", {}).setdefault(MODE, self.default_mode)
        standard = body["metadata"].get("annotations", {}).get(MODE) in STANDARD
        if not standard and predictor.get("scaleMetric", "rps") not in ("concurrency", "rps"):
            return f"[{predictor['scaleMetric']}] is not a supported metric"
        if ("containers" in predictor) == ("model" in predictor):
            return "exactly one of [Containers, Model] must be specified in PredictorSpec"
        if predictor.get("maxReplicas") and predictor["maxReplicas"] < predictor.get("minReplicas", 1):
            return "MinReplicas cannot be greater than MaxReplicas"
        if len(body["metadata"]["name"]) > 63 - len("-predictor-00001"):
            return "the name is too long for that of a revision"
        return ""

    def remove(self, found: dict[str, Any]) -> None:
        self.services.pop(found["metadata"]["uid"], None)

    def deployment(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The Deployment of a service in Standard mode: new pods beside the old ones until they are ready."""
        service = next((each for each in self.services.values() if each.deployment == (namespace, name)), None)
        if service is None:
            return None
        newest = service.revisions[-1]
        available, replicas = (
            int(bool(service.traffic)),
            1 if newest.name in service.traffic else 1 + bool(service.traffic),
        )
        status = {"observedGeneration": len(service.revisions), "replicas": replicas, "updatedReplicas": 1}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": namespace, "name": name, "generation": len(service.revisions)},
            "spec": {"replicas": 1},
            "status": {**status, "availableReplicas": available},
        }

    def advance(self, found: dict[str, Any]) -> None:
        service = self.services.setdefault(found["metadata"]["uid"], Service())
        self._revise(service, found)
        newest = service.revisions[-1]
        mode = found["metadata"].get("annotations", {}).get(MODE, "Knative")
        placed = {"nodeSelector", "tolerations"} & newest.predictor.keys()
        if mode in STANDARD or self.schedules or not placed:  # Knative refuses it, and KServe tries again for ever
            self._load(newest)
        status = found.setdefault("status", {})
        if self.tells_mode:
            status["deploymentMode"] = mode
        if mode in STANDARD:
            self._replace_deployment(service, found)
            available = bool(service.traffic)
        else:
            self._divide(service, found)
            available = newest.ready
        self._tell(found, newest, available)
        name = found["metadata"]["name"]
        for revision, percent in service.traffic.items():
            share = (name, uri_of(service.revision(revision).predictor), percent)
            if percent and share not in self.history:
                self.history.append(share)

    def _revise(self, service: Service, found: dict[str, Any]) -> None:
        """Makes a revision where the template has changed: everything but the share of the traffic."""
        predictor = {key: value for key, value in found["spec"]["predictor"].items() if key != "canaryTrafficPercent"}
        metadata = found["metadata"]
        template = copy.deepcopy([predictor, metadata.get("labels"), metadata.get("annotations")])
        if not service.revisions or service.revisions[-1].template != template:
            name = f"{metadata['name']}-predictor-{next(service.numbers):05d}"
            service.revisions.append(Revision(name, template, copy.deepcopy(predictor)))

    def _load(self, revision: Revision) -> None:
        revision.looks += 1
        if revision.ready or revision.failure:
            return
        healthy, revision.failure = self.containers.state(revision.predictor)
        held = uri_of(revision.predictor) in self.held
        revision.ready = healthy and not held and revision.looks > _LOOKS

    def _replace_deployment(self, service: Service, found: dict[str, Any]) -> None:
        """Standard mode: new pods take over as soon as they are ready; the service stays ready with the old ones."""
        metadata = found["metadata"]
        service.deployment = (metadata["namespace"], f"{metadata['name']}-predictor")
        found["status"]["observedGeneration"] = len(service.revisions)
        if service.revisions[-1].ready:
            service.traffic = {service.revisions[-1].name: 100}

    def _divide(self, service: Service, found: dict[str, Any]) -> None:
        """Knative mode. What is read of the status is what the controller wrote the last time."""
        components = found["status"].setdefault("components", {})
        status = components.setdefault("predictor", {})
        canary = found["spec"]["predictor"].get("canaryTrafficPercent")
        rolled = status.get("latestRolledoutRevision", "")
        states = {status.get(f"latest{each}Revision") for each in ("Rolledout", "Ready", "Created")}
        if len(states) == 1 and canary is not None and canary < 100:
            rolled = status.get("previousRolledoutRevision", "")
        ready = next((each.name for each in reversed(service.revisions) if each.ready), "")
        targets = [{"latestRevision": True, "revisionName": ready, "percent": 100}]
        if canary is not None and rolled:
            targets[0]["percent"] = canary
            if canary < 100:
                prev = {"tag": "prev", "latestRevision": False, "revisionName": rolled, "percent": 100 - canary}
                targets.append(prev)
        status["latestCreatedRevision"] = service.revisions[-1].name
        if not ready:
            return
        self._route(service, found, targets)
        status["address"] = {"url": f"http://{_inner(found, '-predictor')}"}
        status["latestReadyRevision"] = ready
        status["traffic"] = targets
        whole = targets[0]["percent"] == 100
        if whole and status.get("latestRolledoutRevision") != ready:
            status["previousRolledoutRevision"] = status.get("latestRolledoutRevision", "")
            status["latestRolledoutRevision"] = ready

    def _route(self, service: Service, found: dict[str, Any], targets: list[dict[str, Any]]) -> None:
        metadata = found["metadata"]
        service.traffic, service.tags = {}, {}
        tagged = metadata.get("annotations", {}).get("serving.kserve.io/enable-tag-routing") == "true"
        for target in targets:
            revision, share = target["revisionName"], target["percent"]
            service.traffic[revision] = service.traffic.get(revision, 0) + share
            if target["latestRevision"] and tagged:
                target["tag"] = "latest"
            if tag := target.get("tag"):
                host = f"{tag}-{metadata['name']}-predictor.{metadata['namespace']}.{DOMAIN}"
                target["url"] = f"http://{host}"
                service.tags[host] = service.tags[f"{tag}-{_inner(found, '-predictor')}"] = revision

    def _tell(self, found: dict[str, Any], newest: Revision, available: bool) -> None:
        """Writes whether a service is ready, where it answers, and what became of its newest model."""
        status, metadata = found["status"], found["metadata"]
        condition = {"type": "PredictorReady", "status": "True"}
        model: dict[str, Any] = {"transitionStatus": "UpToDate"}
        if newest.failure and not available:
            told = {"reason": "RevisionFailed", "message": newest.failure}
            condition = {"type": "PredictorReady", "status": "False", **told}
        elif not available:
            told = f'Configuration "{metadata["name"]}-predictor" is waiting for a Revision to become ready.'
            condition = {"type": "PredictorReady", "status": "Unknown", "reason": "RevisionMissing", "message": told}
        else:
            standard = metadata.get("annotations", {}).get(MODE) in STANDARD
            status["address"] = {"url": f"http://{_inner(found, '-predictor' if standard else '')}"}
            host = f"{metadata['name']}.{metadata['namespace']}.{DOMAIN}"
            path = self.path and f"{self.path}/{metadata['namespace']}/{metadata['name']}"
            status["url"] = f"http://{DOMAIN}{path}" if path else f"http://{host}"
        if newest.failure:
            failure = {"reason": "ModelLoadFailed", "message": newest.failure, "exitCode": 1}
            model = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure}
        elif not newest.ready:
            model = {"transitionStatus": "InProgress"}
        status["conditions"] = [condition, {**condition, "type": "Ready"}]
        status["modelStatus"] = model


def _inner(found: dict[str, Any], suffix: str = "") -> str:
    """A host of a service inside of the cluster."""
    return f"{found['metadata']['name']}{suffix}.{found['metadata']['namespace']}.{INSIDE}"


def uri_of(predictor: dict[str, Any]) -> str:
    """What a predictor loads."""
    if "model" in predictor:
        return str(predictor["model"]["storageUri"])
    variables = {each["name"]: each["value"] for each in predictor["containers"][0]["env"]}
    return str(variables["STORAGE_URI"])
