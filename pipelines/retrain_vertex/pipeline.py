"""Continuous training on Vertex AI: a new model serves only if it beats the one that does."""

from typing import Dict

from kfp import dsl

from hfpc.components import (
    compare_models,
    deploy_vertex_endpoint,
    find_vertex_champion,
    register_vertex_model,
)
from hfpc.pipelines.continuation import continues
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate


@dsl.pipeline(name="retrain-vertex", display_name="Retrain, and replace the champion if better")
@continues(train_and_evaluate)
def retrain_vertex(
    candidate,
    project: str,
    location: str,
    name: str = "tweets",
    min_metrics: Dict[str, float] = {},
    min_gain: float = 0.0,
    significance: float = 0.05,
    staging_uri: str = "",
    image: str = "",
    machine_type: str = "n1-standard-4",
    accelerator_type: str = "",
    accelerator_count: int = 0,
    min_replicas: int = 1,
    max_replicas: int = 1,
    canary_percent: int = 0,
):
    """Fine-tunes a model on what the source holds now, and deploys it if it beats the one that serves.

    Made to be run again and again, e.g. by `hfpc schedule`: where nothing serves yet, the first good
    enough model does.

    Args:
        candidate: The trained, measured model; the task `train_and_evaluate`.
        project: Google Cloud project; `hfpc submit` fills it in.
        location: Region, e.g. `us-central1`; `hfpc submit` fills it in.
        name: Name of the model in the Model Registry, and of the endpoint.
        min_metrics: Metric name to the least value a model must reach to be deployed.
        min_gain: Least gain over the champion in the task's main metric.
        significance: Largest p-value at which a gain counts as real; 1 takes any gain.
        staging_uri: Folder (`gs://`) that a model is copied to which does not lie on Cloud Storage yet,
            as when the steps run on a laptop.
        image: Serving image, in Artifact Registry; empty takes this package's own.
        machine_type: Machine type of the endpoint's replicas.
        accelerator_type: Accelerator of each replica, e.g. `NVIDIA_L4`; empty for none.
        accelerator_count: Accelerators a replica.
        min_replicas: Replicas that always serve.
        max_replicas: Most replicas that load may start.
        canary_percent: Share of the traffic, 0 to 99, that a new version gets for a while before it
            gets all of it; 0 moves all traffic at once.
    """
    # From here on the outcome depends on the registry too, so nothing is taken from a cache.
    champion = find_vertex_champion(endpoint_name=name, project=project, location=location)
    champion.set_display_name("Find the champion").set_caching_options(False)
    comparison = compare_models(
        predictions=candidate.outputs["predictions"],
        dataset=candidate.outputs["dataset"],
        champion=champion.outputs["champion"],
        min_metrics=min_metrics,
        min_gain=min_gain,
        significance=significance,
        trust_remote_code=candidate.inputs["trust_remote_code"],
    )
    comparison.set_display_name("Compare with the champion").set_caching_options(False)
    with dsl.If(comparison.outputs["decision"] == "promote", name="if better"):
        registration = register_vertex_model(
            model=candidate.outputs["model"],
            predictions=candidate.outputs["predictions"],
            name=name,
            project=project,
            location=location,
            staging_uri=staging_uri,
            image=image,
        )
        registration.set_display_name("Register").set_caching_options(False)
        deployment = deploy_vertex_endpoint(
            registered=registration.outputs["registered"],
            endpoint_name=name,
            machine_type=machine_type,
            accelerator_type=accelerator_type,
            accelerator_count=accelerator_count,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            canary_percent=canary_percent,
        )
        deployment.set_display_name("Deploy and test").set_caching_options(False)
