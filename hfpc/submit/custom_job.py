"""A component of a compiled pipeline as a Vertex AI custom job: several nodes, TPUs, spot machines."""

import copy
from typing import Any

from hfpc.errors import MissingExtraError
from hfpc.submit.graph import Graph, Spec
from hfpc.submit.profiles import Profile
from hfpc.submit.vertex_submission import VertexSubmission


def as_custom_job(spec: Spec, component: str, profile: Profile) -> None:
    """Replaces a component by the custom job that runs the same container on each node; its tasks stay as they are.

    Args:
        spec: A compiled pipeline, which is changed.
        component: Name of the component in it, e.g. "comp-finetune".
        profile: The machines.

    Raises:
        MissingExtraError: The extra `google` is not installed.
    """
    try:
        from google_cloud_pipeline_components.v1 import custom_job  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("google_cloud_pipeline_components", "google", "a custom job on Vertex AI") from error
    import yaml
    from google.protobuf import json_format  # type: ignore[import-untyped]
    from kfp.components import load_component_from_text

    label = spec["components"][component]["executorLabel"]
    job = custom_job.create_custom_training_job_from_component(
        load_component_from_text(yaml.safe_dump(_alone(spec, component))),  # YAML reads 5e-05 in JSON as a text
        display_name=component.removeprefix("comp-"),
        replica_count=profile.nodes,
        machine_type=profile.machine_type,
        accelerator_type=profile.accelerator,
        accelerator_count=profile.devices,
        env=spec["deploymentSpec"]["executors"][label]["container"].get("env", []),
        boot_disk_type=profile.boot_disk_type,
        boot_disk_size_gb=profile.boot_disk,
        strategy="SPOT" if profile.spot else "STANDARD",
        restart_job_on_worker_restart=profile.spot,
    )
    made: Spec = json_format.MessageToDict(job.pipeline_spec)
    ((_, definition),) = made["components"].items()
    ((_, executor),) = made["deploymentSpec"]["executors"].items()
    if profile.tpu_topology:
        for pool in definition["inputDefinitions"]["parameters"]["worker_pool_specs"]["defaultValue"]:
            pool["machine_spec"]["tpu_topology"] = profile.tpu_topology
    spec["components"][component] = definition | {"executorLabel": label}
    spec["deploymentSpec"]["executors"][label] = executor


def run_as(spec: Spec, submission: VertexSubmission) -> Spec:
    """A pipeline whose custom jobs run as its other tasks do: same account, network, key and labels.

    What the pipeline itself says of a job goes first. Where the run has no account either, its custom jobs run as
    Vertex AI's Custom Code Service Agent.

    Args:
        spec: A compiled pipeline; it is not changed.
        submission: The run.
    """
    changed = copy.deepcopy(spec)
    given: dict[str, Any] = {
        "service_account": submission.service_account,
        "network": submission.network,
        "encryption_spec_key_name": submission.kms_key,
        "labels": submission.labels,
    }
    for component in changed.get("components", {}).values():
        parameters = component.get("inputDefinitions", {}).get("parameters", {})
        if "worker_pool_specs" not in parameters:
            continue
        for name, value in given.items():
            if value and name in parameters and not parameters[name].get("defaultValue"):
                parameters[name]["defaultValue"] = value
    return changed


def loses_checkpoints(submission: VertexSubmission) -> bool:
    """Whether a training on spot machines keeps its checkpoints on them, and so starts from the beginning again."""
    for step in Graph(spec=submission.spec, parameters=submission.parameters).steps:
        strategy, uri = step.inputs.get("strategy"), step.inputs.get("checkpoint_uri")
        if strategy and uri and strategy.value == "SPOT" and uri.known and not uri.value:
            return True
    return False


def _alone(spec: Spec, name: str) -> Spec:
    """A pipeline of one component, which hands its inputs and outputs on."""
    component = spec["components"][name]
    inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
    task: dict[str, Any] = {
        "componentRef": {"name": name},
        "taskInfo": {"name": "job"},
        "inputs": {
            "parameters": {each: {"componentInputParameter": each} for each in inputs.get("parameters", {})},
            "artifacts": {each: {"componentInputArtifact": each} for each in inputs.get("artifacts", {})},
        },
    }
    selectors = {
        "artifacts": {
            each: {"artifactSelectors": [{"producerSubtask": "job", "outputArtifactKey": each}]}
            for each in outputs.get("artifacts", {})
        }
    }
    label = component["executorLabel"]
    return {
        "pipelineInfo": {"name": "job"},
        "schemaVersion": spec["schemaVersion"],
        "sdkVersion": spec["sdkVersion"],
        "components": {name: component},
        "deploymentSpec": {"executors": {label: spec["deploymentSpec"]["executors"][label]}},
        "root": {
            "dag": {"tasks": {"job": task}, "outputs": selectors},
            "inputDefinitions": inputs,
            "outputDefinitions": outputs,
        },
    }
