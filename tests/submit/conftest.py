"""Fixtures of what is asked before a submission."""

import json

import pytest


@pytest.fixture(scope="session")
def hub():
    from tests.cloud.hub import Hub
    from tests.submit.preflight_cloud import SECRET

    with Hub().serve() as served:
        served.repository("models", "ann/open").commit({"config.json": b"{}"})
        gated = served.repository("models", "ann/gated")
        gated.commit({"config.json": b"{}"})
        gated.token = SECRET
        served.repository("datasets", "ann/tweets").commit({"train.csv": b"text,label"})
        yield served


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The services, the key file of a caller, and a compiled pipeline."""
    from tests.cloud.google_services import GoogleServices
    from tests.submit.preflight_cloud import compiled

    with GoogleServices().serve() as services:
        file = services.write_credentials(tmp_path_factory.mktemp("credentials") / "key.json")
        yield services, file, compiled(services.url.removeprefix("http://"))


@pytest.fixture
def services(served, hub, monkeypatch, tmp_path):
    """The services of a cloud in which everything is well; the environment leads there."""
    from tests.submit.preflight_cloud import good_world

    services, file, _ = served
    services.world = good_world()
    for log in (services.refused, services.hanging, services.calls, services.unknown_requests):
        log.clear()
    environment = {**services.environment, "GOOGLE_APPLICATION_CREDENTIALS": str(file), "HF_ENDPOINT": hub.endpoint}
    for name, value in {**environment, "HF_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    return services


@pytest.fixture
def submission(served, services):
    from hfpc.submit.vertex_submission import VertexSubmission
    from tests.submit.preflight_cloud import KEY, NETWORK, TASKS

    return VertexSubmission(
        name="toy",
        spec=json.loads(served[2]),
        parameters={},
        project="test",
        location="us-central1",
        pipeline_root="gs://artifacts/toy",
        job_id="toy-2",
        service_account=TASKS,
        network=NETWORK,
        kms_key=KEY,
        labels={"team": "nlp"},
    )
