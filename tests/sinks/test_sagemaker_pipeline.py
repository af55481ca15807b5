"""The components of SageMaker as tasks of a run on this machine."""

import json

from kfp import dsl
from kfp.dsl import Dataset, Model

from hfpc import aws, components, golden
from hfpc.sinks.sagemaker import deployed
from hfpc.sinks.sagemaker_register import registered
from hfpc.submit.local import run
from tests.sinks.sagemaker_place import IMAGE, ROLE

INSTANCE = "ml.m5.large"


@dsl.pipeline(name="registering")
def registering(model: str, predictions: str, staging_uri: str):
    trained = dsl.importer(artifact_uri=model, artifact_class=Model)
    measured = dsl.importer(artifact_uri=predictions, artifact_class=Dataset)
    components.register_sagemaker_model(
        model=trained.output,
        predictions=measured.output,
        group="tweets",
        staging_uri=staging_uri,
        instance_type=INSTANCE,
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"},
    )


@dsl.pipeline(name="a-life")
def a_life(model: str, predictions: str):
    """Registers a model, predicts with it, deploys it, tests the endpoint, and takes that away again."""
    trained = dsl.importer(artifact_uri=model, artifact_class=Model)
    measured = dsl.importer(artifact_uri=predictions, artifact_class=Dataset)
    registration = components.register_sagemaker_model(
        model=trained.output,
        predictions=measured.output,
        group="tweets",
        staging_uri="s3://models/staged",
        instance_type=INSTANCE,
        image=IMAGE,
    )
    components.batch_predict_sagemaker(
        registered=registration.outputs["registered"],
        source="s3://models/in/rows.jsonl",
        output_uri="s3://models/out",
        role=ROLE,
        instance_type=INSTANCE,
    )
    deployment = components.deploy_sagemaker_endpoint(
        registered=registration.outputs["registered"], endpoint_name="tweets", role=ROLE, instance_type=INSTANCE
    )
    testing = components.test_endpoint(endpoint=deployment.outputs["endpoint"], max_latency_ms=60_000.0, requests=5)
    components.undeploy_sagemaker_endpoint(endpoint_name="tweets").after(testing)


def artifact(done, component, name):
    task = next(task for task in done.tasks if task.component == component)
    return next(item for item in task.artifacts if item.name == name)


def test_a_task_registers_a_model_and_hands_on_its_package(amazon, home, model, predictions):
    aws.client("s3").create_bucket(Bucket="models")
    parameters = {"model": str(model), "predictions": str(predictions), "staging_uri": "s3://models/staged"}
    done = run(f"{__file__}:registering", parameters)
    assert next(task for task in done.tasks if task.component == "register_sagemaker_model").error == ""
    package = registered(artifact(done, "register_sagemaker_model", "registered").metadata)
    assert package.environment == {"HF_TASK": "text-classification", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    found = aws.client("sagemaker").describe_model_package(ModelPackageName=package.arn)
    assert found["InferenceSpecification"]["Containers"][0]["Environment"] == package.environment


def test_every_component_takes_what_another_gives(amazon, home, model, predictions, server):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="models")
    amazon.containers[IMAGE] = server
    requests = golden.read(model)
    rows = "".join(json.dumps({"inputs": request["inputs"]}) + "\n" for request in requests)
    s3.put_object(Bucket="models", Key="in/rows.jsonl", Body=rows.encode())
    done = run(f"{__file__}:a_life", {"model": str(model), "predictions": str(predictions)})
    assert done.state == "succeeded", [(task.name, task.error) for task in done.tasks if task.error]

    predicted = artifact(done, "batch_predict_sagemaker", "predictions")
    [found] = s3.list_objects_v2(Bucket="models", Prefix="out/")["Contents"]
    assert found["Key"].endswith("/rows.jsonl.out")
    lines = s3.get_object(Bucket="models", Key=found["Key"])["Body"].read().splitlines()
    answers = [answer[0] if isinstance(answer[0], list) else answer for answer in map(json.loads, lines)]
    assert [answer[0]["label"] for answer in answers] == [request["response"][0]["label"] for request in requests]

    endpoint = deployed(artifact(done, "deploy_sagemaker_endpoint", "endpoint").metadata)
    assert endpoint.moved and endpoint.package == predicted.metadata["package"]
    assert artifact(done, "test_endpoint", "metrics").metadata["requests"] == 5
    removal = next(task for task in done.tasks if task.component == "undeploy_sagemaker_endpoint")
    assert removal.outputs["removed"] is True
    assert amazon.faults.calls.count("DeleteEndpoint") == 1 and amazon.control.misuses == []
    assert aws.client("sagemaker").list_endpoints()["Endpoints"] == []
