"""Fixtures of a loopback Kubernetes cluster, for every folder of tests (`pytest_plugins` in tests/conftest.py)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cloud.kubernetes import Kubernetes
    from tests.cloud.kubernetes_gateway import Gateway
    from tests.cloud.kubernetes_kserve import KServe
    from tests.cloud.kubernetes_trainer import Trainer


@dataclass(frozen=True)
class Cluster:
    """A cluster on this machine.

    Attributes:
        api: Its API server.
        kserve: What acts on InferenceServices.
        gateway: Where they are asked.
        trainer: What acts on TrainJobs.
    """

    api: "Kubernetes"
    kserve: "KServe"
    gateway: "Gateway"
    trainer: "Trainer"


@pytest.fixture(scope="session")
def _cluster(certificate) -> Iterator[Cluster]:
    from tests.cloud.kubernetes import Kubernetes
    from tests.cloud.kubernetes_containers import Containers
    from tests.cloud.kubernetes_gateway import Gateway
    from tests.cloud.kubernetes_kserve import KServe
    from tests.cloud.kubernetes_trainer import Trainer

    api, containers, trainer = Kubernetes(), Containers(), Trainer()
    kserve = KServe(containers)
    api.controllers |= {"inferenceservices": kserve, "trainjobs": trainer}
    api.views["deployments"] = kserve.deployment
    api.lists |= {"pods": trainer.pods, "events": trainer.events}
    try:
        with api.serve(*certificate), Gateway(api, kserve).serve() as gateway:
            yield Cluster(api, kserve, gateway, trainer)
    finally:
        containers.close()


@pytest.fixture
def cluster(_cluster, certificate, tmp_path, monkeypatch) -> Iterator[Cluster]:
    """An empty cluster, which the kubeconfig of the environment leads to."""
    _cluster.api.reset()
    _cluster.kserve.reset()
    _cluster.gateway.answered.clear()
    _cluster.trainer.forget()
    monkeypatch.setenv("KUBECONFIG", str(_cluster.api.write_kubeconfig(tmp_path / "kubeconfig", certificate[0])))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost"))))
    yield _cluster
    _cluster.api.reset()


@pytest.fixture
def in_a_pod(cluster, monkeypatch) -> None:
    """There names of the cluster are known, and Knative's example.com is not: a proxy stands for that."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, cluster.gateway.address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
