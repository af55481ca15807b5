"""Continuous training on Vertex AI: a new model serves only if it beats the one that does."""

from typing import Dict, List

from kfp import dsl

from hfpc.components import (
    compare_models,
    deploy_vertex_endpoint,
    find_vertex_champion,
    register_vertex_model,
)
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate


@dsl.pipeline(name="retrain-vertex", display_name="Retrain, and replace the champion if better")
def retrain_vertex(
    project: str,
    location: str,
    name: str = "tweets",
    source: str = "sample:tweets",
    task: str = "text-classification",
    source_revision: str = "",
    columns: Dict[str, str] = {},
    labels: List[str] = [],
    max_rows: int = 0,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    split_seed: int = 42,
    source_extra: Dict[str, str] = {},
    base_model: str = "sample:minilm",
    base_revision: str = "",
    max_length: int = 0,
    trust_remote_code: bool = False,
    epochs: float = 3.0,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    precision: str = "auto",
    label_weights: str = "none",
    lora_rank: int = 0,
    early_stopping_patience: int = 0,
    checkpoint_uri: str = "",
    training_extra: dict = {},
    optimize: bool = False,
    max_metric_loss: float = 0.01,
    slice_columns: List[str] = [],
    seed: int = 42,
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
        project: Google Cloud project; `hfpc submit` fills it in.
        location: Region, e.g. `us-central1`; `hfpc submit` fills it in.
        name: Name of the model in the Model Registry, and of the endpoint.
        source: Data set; see `load_dataset`.
        task: Task name, `text-classification` or `token-classification`.
        source_revision: Branch, tag or commit of a Hub data set.
        columns: Role to column name; see `load_dataset`.
        labels: Only rows with these labels are kept; empty keeps all.
        max_rows: Rows to keep; 0 keeps all.
        validation_share: Share of rows for validation, 0 to 1, where the source has no such split.
        test_share: Share of rows for the test, 0 to 1, where the source has no such split.
        split_seed: Seed of the split and of `max_rows`. Apart from `seed`, because another split
            would put rows that the champion was trained on into the test split.
        source_extra: Rare settings of `load_dataset` (its `extra`), e.g. `{"delimiter": ";"}`.
        base_model: Model to fine-tune; see `preprocess`.
        base_revision: Branch, tag or commit of a Hub model.
        max_length: Tokens a row is cut to; 0 chooses from the data.
        trust_remote_code: Let the base model's own Python code run, in every step.
        epochs: Passes over the training rows.
        learning_rate: Peak learning rate.
        batch_size: Rows per optimizer step and device.
        precision: `auto`, `fp32`, `bf16` or `fp16`; see `finetune`.
        label_weights: `none` or `balanced`.
        lora_rank: Rank of LoRA adapters; 0 trains all weights.
        early_stopping_patience: Evaluations without improvement before training stops; 0 never.
        checkpoint_uri: Where checkpoints are copied.
        training_extra: Any other `transformers.TrainingArguments` (`extra` of `finetune`), e.g.
            `{"weight_decay": 0.01}`.
        optimize: Look for a faster form of the model; see `optimize`. What is kept is what is
            measured on the test split, and deployed.
        max_metric_loss: Most of the task's main metric that a faster form may lose on the
            validation split, in its own unit: 0.01 is one point of accuracy.
        slice_columns: Columns whose values the evaluation reports apart.
        seed: Seed of the training and of the resampling of the evaluation.
        min_metrics: Metric name to the least value a model must reach to be deployed.
        min_gain: Least gain over the champion in the task's main metric.
        significance: Largest p-value at which a gain counts as real; 1 takes any gain.
        staging_uri: Folder (`gs://`) that a model is copied to which does not lie on Cloud Storage yet,
            as when the steps run on a laptop.
        image: Serving image; empty takes this package's own.
        machine_type: Machine type of the endpoint's replicas.
        accelerator_type: Accelerator of each replica, e.g. `NVIDIA_L4`; empty for none.
        accelerator_count: Accelerators a replica.
        min_replicas: Replicas that always serve.
        max_replicas: Most replicas that load may start.
        canary_percent: Share of the traffic, 0 to 100, that a new version gets for a while before it
            gets all of it; 0 moves all traffic at once.
    """
    candidate = train_and_evaluate(
        source=source,
        task=task,
        source_revision=source_revision,
        columns=columns,
        labels=labels,
        max_rows=max_rows,
        validation_share=validation_share,
        test_share=test_share,
        split_seed=split_seed,
        source_extra=source_extra,
        base_model=base_model,
        base_revision=base_revision,
        max_length=max_length,
        trust_remote_code=trust_remote_code,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        precision=precision,
        label_weights=label_weights,
        lora_rank=lora_rank,
        early_stopping_patience=early_stopping_patience,
        checkpoint_uri=checkpoint_uri,
        training_extra=training_extra,
        optimize=optimize,
        max_metric_loss=max_metric_loss,
        slice_columns=slice_columns,
        seed=seed,
    ).set_display_name("Train and evaluate")
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
        trust_remote_code=trust_remote_code,
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
