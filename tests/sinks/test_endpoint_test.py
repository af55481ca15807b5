"""The test of an endpoint on Vertex AI over loopback; tests/serving/test_server.py has that of local ones."""

import pytest

from hfpc.errors import ArgumentError, EndpointError, HfpcError
from hfpc.sinks.endpoint_test import TestEndpointConfig, test_endpoint
from hfpc.sinks.vertex_endpoints import deploy, undeploy
from tests.sinks.vertex_place import ENDPOINT, QUICK, deployment, other, put, registered

pytest.importorskip("google.cloud.aiplatform_v1")


@pytest.mark.parametrize("dedicated", [False, True], ids=["shared", "dedicated"])
def test_an_endpoint_of_vertex_is_tested(google_cloud, model, dedicated, capfd):
    endpoint = deploy(registered(put(google_cloud, model, "old")), deployment(dedicated=dedicated), QUICK)
    google_cloud.vertex.faults.clear()
    result = test_endpoint(TestEndpointConfig(requests=5, max_latency_ms=60000), endpoint.metadata)
    assert result.metrics["requests"] == 5 and result.metrics["latency_ms_p95"] > 0
    assert google_cloud.vertex.faults.calls.count("Predict") == 3 + 5  # each golden request once before
    assert "progress 5/5 requests" in capfd.readouterr().err
    with pytest.raises(EndpointError, match=r"over max_latency_ms=0\.001"):
        test_endpoint(TestEndpointConfig(requests=5, max_latency_ms=0.001), endpoint.metadata)


def test_an_endpoint_that_answers_otherwise_fails(google_cloud, model, tmp_path):
    endpoint = deploy(registered(put(google_cloud, model, "old")), deployment(), QUICK)
    wrong = put(google_cloud, other(model, tmp_path / "wrong", "5" * 64, wrong=True), "wrong")
    with pytest.raises(EndpointError, match="endpoints/tweets does not answer as the model did when it was made"):
        test_endpoint(TestEndpointConfig(requests=1), {**endpoint.metadata, "artifact_uri": wrong})
    with pytest.raises(EndpointError, match=r"not all at 1: it was deployed again since"):
        test_endpoint(TestEndpointConfig(requests=1), {**endpoint.metadata, "deployed_model": "1"})
    undeploy(ENDPOINT, QUICK)
    with pytest.raises(HfpcError, match=r"Vertex AI failed at testing .*is not found"):
        test_endpoint(TestEndpointConfig(requests=1), endpoint.metadata)


def test_what_cannot_be_tested_is_told_before_any_call():
    given = {"platform": "vertex", "resourceName": ENDPOINT}
    with pytest.raises(ArgumentError, match="has no artifact_uri, deployed_model in its metadata"):
        test_endpoint(TestEndpointConfig(), given)
    with pytest.raises(ArgumentError, match="roll_back=True: deploy_vertex_endpoint tests before"):
        test_endpoint(TestEndpointConfig(roll_back=True), given)
    with pytest.raises(ArgumentError, match="endpoint='elsewhere': give an endpoint from deploy_local, deploy_vertex"):
        test_endpoint(TestEndpointConfig(), {"platform": "elsewhere"})
