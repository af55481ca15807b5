"""The components of SageMaker as tasks of a run on this machine."""

from kfp import dsl
from kfp.dsl import Dataset, Model

from hfpc import aws, components
from hfpc.sinks.sagemaker_register import registered
from hfpc.submit.local import run


@dsl.pipeline(name="registering")
def registering(model: str, predictions: str, staging: str):
    trained = dsl.importer(artifact_uri=model, artifact_class=Model)
    measured = dsl.importer(artifact_uri=predictions, artifact_class=Dataset)
    components.register_sagemaker_model(
        model=trained.output,
        predictions=measured.output,
        group="tweets",
        staging=staging,
        instance="ml.m7i.large",
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"},
    )


def test_a_task_registers_a_model_and_hands_on_its_package(amazon, home, model, predictions):
    aws.client("s3").create_bucket(Bucket="models")
    parameters = {"model": str(model), "predictions": str(predictions), "staging": "s3://models/staged"}
    done = run(f"{__file__}:registering", parameters)
    task = next(task for task in done.tasks if task.component == "register_sagemaker_model")
    assert task.error == ""
    [artifact] = [artifact for artifact in task.artifacts if artifact.name == "registered"]
    package = registered(artifact.metadata)
    assert package.environment == {"HF_TASK": "text-classification", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    found = aws.client("sagemaker").describe_model_package(ModelPackageName=package.arn)
    assert found["InferenceSpecification"]["Containers"][0]["Environment"] == package.environment
