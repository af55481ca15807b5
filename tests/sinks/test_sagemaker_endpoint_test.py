"""The test of an endpoint on a SageMaker of this machine, in each of its modes, behind it this project's own server."""

from dataclasses import replace

import pytest

from hfpc import aws
from hfpc.errors import ArgumentError, EndpointError
from hfpc.sinks.endpoint_test import TestEndpointConfig, test_endpoint
from hfpc.sinks.sagemaker import deployed, predict, undeploy
from hfpc.sinks.sagemaker_endpoints import deploy
from hfpc.sinks.sagemaker_register import RegisterSagemakerModelConfig, register
from tests.sinks.sagemaker_place import IMAGE, NAME, QUICK, deployment, package

REALTIME = {"instance_type": "ml.m5.large"}
SERVERLESS = {"mode": "serverless", "instance_type": ""}
ASYNC = {"mode": "async", "output_uri": "s3://models/async"}
SLOW = {"max_latency_ms": 60_000}


def whole(model):
    """A model registered with all of its files, of which serverless endpoints get an archive."""
    settings = RegisterSagemakerModelConfig(group="tweets", staging_uri="s3://models/staged", image=IMAGE)
    return register(str(model), None, settings)


@pytest.mark.parametrize(
    ("mode", "call"),
    [(REALTIME, "InvokeEndpoint"), (SERVERLESS, "InvokeEndpoint"), (ASYNC, "InvokeEndpointAsync")],
    ids=["realtime", "serverless", "async"],
)
def test_an_endpoint_is_tested_in_every_mode(account, model, mode, call, capfd):
    endpoint = deploy(whole(model), deployment(**mode), QUICK)
    account.faults.clear()
    result = test_endpoint(TestEndpointConfig(requests=5, **SLOW), endpoint.metadata)
    assert result.metrics["requests"] == 5 and result.metrics["latency_ms_p95"] > 0
    assert account.faults.calls.count(call) == 3 + 5  # each golden request once before
    assert "progress 5/5 requests" in capfd.readouterr().err
    left = aws.client("s3").list_objects_v2(Bucket="models", Prefix="async").get("Contents", [])
    assert left == []  # requests and answers of the test
    with pytest.raises(EndpointError, match=r"endpoint tweets took up to .* over max_latency_ms=0\.001"):
        test_endpoint(TestEndpointConfig(requests=1, max_latency_ms=0.001), endpoint.metadata)


def test_an_endpoint_is_asked_as_its_container_wants_to_be(account, model):
    """Our server refuses the parameter that Hugging Face's container needs, so it shows who is sent it."""
    endpoint = deploy(package(model, "old"), deployment(), QUICK)
    known = endpoint.metadata
    older = {name: value for name, value in known.items() if name != "family"}
    assert test_endpoint(TestEndpointConfig(requests=1, **SLOW), older).metrics["requests"] == 1
    with pytest.raises(EndpointError, match=r"endpoint tweets refused: .*truncation"):
        test_endpoint(TestEndpointConfig(requests=1, **SLOW), {**known, "family": "huggingface"})
    with pytest.raises(EndpointError, match=r"endpoint tweets refused: .*truncation"):
        predict(deployed({**known, "family": "huggingface"}), ["a"], patience=QUICK)


@pytest.mark.parametrize("mode", [REALTIME, ASYNC], ids=["realtime", "async"])
def test_an_endpoint_that_answers_otherwise_fails(account, model, mode):
    endpoint = deploy(package(model, "old"), deployment(**mode), QUICK)
    wrong = package(model, "wrong", wrong=True).model_data
    with pytest.raises(EndpointError, match="endpoint tweets does not answer as the model did when it was made"):
        test_endpoint(TestEndpointConfig(requests=1), {**endpoint.metadata, "model_data": wrong})


def test_an_endpoint_that_was_changed_since_fails(account, model):
    first = deploy(package(model, "old"), deployment(), QUICK)
    second = deploy(package(model, "new"), deployment(), QUICK)
    with pytest.raises(EndpointError, match=f"has the configuration {second.config} by now and not {first.config}"):
        test_endpoint(TestEndpointConfig(requests=1), first.metadata)
    undeploy(NAME, patience=QUICK)
    with pytest.raises(EndpointError, match="endpoint tweets is gone: it was undeployed since"):
        test_endpoint(TestEndpointConfig(requests=1), second.metadata)


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_allowed(account, model):
    endpoint = deploy(package(model, "old"), deployment(**ASYNC), QUICK)
    account.control.idle = True
    patience = replace(QUICK, total=0.5, pause=0.1)
    with pytest.raises(EndpointError, match=r"has not written s3://models/async/.* after 0\.5 seconds"):
        test_endpoint(TestEndpointConfig(requests=1), endpoint.metadata, patience)
    left = aws.client("s3").list_objects_v2(Bucket="models", Prefix="async").get("Contents", [])
    assert left == []


def test_what_cannot_be_tested_is_told_before_any_request(account, model):
    endpoint = deploy(package(model, "old"), deployment(), QUICK)
    account.faults.clear()
    with pytest.raises(ArgumentError, match="roll_back=True: deploy_sagemaker_endpoint tests before"):
        test_endpoint(TestEndpointConfig(roll_back=True), endpoint.metadata)
    with pytest.raises(ArgumentError, match="give an endpoint from deploy_sagemaker_endpoint"):
        test_endpoint(TestEndpointConfig(), {"platform": "sagemaker", "name": NAME})
    with pytest.raises(ArgumentError, match="endpoint='tweets': models for text-generation have no golden requests"):
        test_endpoint(TestEndpointConfig(), {**endpoint.metadata, "task": "text-generation"})
    assert account.faults.calls == []
