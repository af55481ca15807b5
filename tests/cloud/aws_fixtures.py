"""Fixtures of a loopback Amazon Web Services, for every folder of tests (`pytest_plugins` in tests/conftest.py)."""

import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture(scope="session")
def _amazon_server():
    pytest.importorskip("moto.server")
    from tests.cloud.sagemaker import SageMaker

    with SageMaker().serve() as served:
        yield served


@pytest.fixture
def amazon(_amazon_server, monkeypatch):
    """An empty Amazon Web Services, which the environment points to; see tests/cloud/sagemaker.py."""
    _amazon_server.reset()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "HFPC_AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _amazon_server.url)
    return _amazon_server
