"""Raw rows to a tested, served model on one machine."""

from typing import Dict

from kfp import dsl

from hfpc.components import compare_models, deploy_local, register_local_model, test_endpoint
from hfpc.pipelines.continuation import continues
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate


@dsl.pipeline(name="finetune-local", display_name="Fine-tune and deploy on this machine")
@continues(train_and_evaluate)
def finetune_local(
    candidate,
    name: str = "tweets",
    registry: str = "",
    min_metrics: Dict[str, float] = {},
    min_gain: float = 0.0,
    significance: float = 0.05,
    max_latency_ms: float = 1000.0,
):
    """Fine-tunes a model, and if it beats the champion, registers, deploys and tests it.

    Args:
        candidate: The trained, measured model; the task `train_and_evaluate`.
        name: Name of the model in the local registry.
        registry: Folder of the local registry; empty means `$HFPC_HOME/registry`.
        min_metrics: Metric name to the least value a model must reach to be deployed.
        min_gain: Least gain over the champion in the task's main metric.
        significance: Largest p-value at which a gain counts as real; 1 takes any gain.
        max_latency_ms: Most milliseconds that 95 of 100 requests may take.
    """
    # From here on the outcome depends on the registry too, so nothing is taken from a cache.
    comparison = compare_models(
        predictions=candidate.outputs["predictions"],
        dataset=candidate.outputs["dataset"],
        champion=f"{name}@champion",
        registry=registry,
        min_metrics=min_metrics,
        min_gain=min_gain,
        significance=significance,
        trust_remote_code=candidate.inputs["trust_remote_code"],
    )
    comparison.set_display_name("Compare with the champion").set_caching_options(False)
    with dsl.If(comparison.outputs["decision"] == "promote", name="if better"):
        registration = register_local_model(
            model=candidate.outputs["model"],
            predictions=candidate.outputs["predictions"],
            name=name,
            registry=registry,
        )
        registration.set_display_name("Register").set_caching_options(False)
        deployment = deploy_local(registered=registration.outputs["registered"])
        deployment.set_display_name("Deploy").set_caching_options(False)
        testing = test_endpoint(endpoint=deployment.outputs["endpoint"], max_latency_ms=max_latency_ms, roll_back=True)
        testing.set_display_name("Test the endpoint").set_caching_options(False)
