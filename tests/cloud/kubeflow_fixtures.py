"""Fixtures of the loopback Kubeflow."""

import os
from dataclasses import replace

import pytest

from hfpc.submit import kubeflow_client
from tests.cloud.kubeflow import TOKEN, Kubeflow

VARIABLES = (
    "KF_PIPELINES_ENDPOINT",
    "HFPC_KUBEFLOW_TOKEN",
    "HFPC_KUBEFLOW_COOKIE",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "SSL_CERT_FILE",
)
"""What the connection depends on."""


@pytest.fixture(scope="session")
def served_kubeflow():
    with Kubeflow().serve() as served:
        yield served


@pytest.fixture
def kubeflow(served_kubeflow, monkeypatch):
    """An empty Kubeflow; the environment leads there, with a token, and who asks again does so at once."""
    monkeypatch.setattr(kubeflow_client, "PATIENCE", replace(kubeflow_client.PATIENCE, retry=0.005))
    served_kubeflow.reset()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", served_kubeflow.url)
    monkeypatch.setenv("HFPC_KUBEFLOW_TOKEN", TOKEN)
    assert not os.path.exists(os.path.expanduser("~/.config/kfp/context.json")), "kfp's settings would join in"
    yield served_kubeflow
    assert served_kubeflow.unknown_requests == []
