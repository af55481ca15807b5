"""Trained on Vertex AI, served on Amazon SageMaker."""

from typing import Dict, List

from kfp import dsl

from hfpc.pipelines.finetune_sagemaker.pipeline import finetune_sagemaker


@dsl.pipeline(name="vertex-to-sagemaker", display_name="Train on Vertex AI, deploy on Amazon SageMaker")
def vertex_to_sagemaker(
    role: str,
    region: str,
    staging_uri: str,
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
    image: str = "",
    mode: str = "realtime",
    instance_type: str = "",
    min_instances: int = 1,
    max_instances: int = 1,
    scaling_target: float = 0.0,
    memory_mb: int = 3072,
    max_concurrency: int = 0,
    output_uri: str = "",
    traffic: str = "all_at_once",
    alarms: List[str] = [],
    kms_key: str = "",
    deployment_extra: dict = {},
    max_latency_ms: float = 10000.0,
):
    """Fine-tunes a model on Vertex AI, and if it is good enough, deploys and tests it on Amazon SageMaker.

    No AWS keys are needed: `hfpc submit` hands `HFPC_AWS_ROLE_ARN` on from its environment, and the Google
    service account that the tasks run as takes that role on. `hfpc submit --profile` chooses the machines that
    train.

    Args:
        role: ARN of the role that the container of the endpoint runs as.
        region: AWS region of the endpoint, e.g. `us-east-1`.
        staging_uri: Folder (`s3://`) that the model is uploaded to, in the region of the endpoint.
        name: Name of the model package group, and of the endpoint: letters, digits and hyphens, at most 40.
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
        image: `hfpc`, `huggingface` or the URI of an image in ECR; empty chooses by task and instance. See
            `register_sagemaker_model`.
        mode: `realtime`, `serverless` or `async`. An endpoint keeps its mode.
        instance_type: Instance type, e.g. `ml.m7i.large`; empty for serverless.
        min_instances: Instances that always run; 0, for async only, lets the endpoint scale to none.
        max_instances: Most instances that load may start.
        scaling_target: What autoscaling keeps, if `max_instances` is above `min_instances`: requests a minute
            for an instance, or for async requests that wait for one.
        memory_mb: Memory of a serverless container in MB, 1024 to 6144.
        max_concurrency: Requests at once of a serverless endpoint (0 means 5), or for an async instance.
        output_uri: Folder (`s3://`) that async responses are written to.
        traffic: How an update moves traffic: `all_at_once`, `canary` or `linear`.
        alarms: CloudWatch alarms; one that is raised during an update rolls it back.
        kms_key: KMS key that encrypts the model on S3; empty means the bucket's own encryption. Volumes of
            instances have theirs in `deployment_extra`.
        deployment_extra: Rare settings of `deploy_sagemaker_endpoint` (its `extra`), e.g.
            `{"tags": {"team": "search"}}`.
        max_latency_ms: Most milliseconds that 95 of 100 requests may take, one at a time. The default leaves
            room for async endpoints, which answer by way of S3.
    """
    finetune_sagemaker(
        role=role,
        region=region,
        staging_uri=staging_uri,
        name=name,
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
        min_metrics=min_metrics,
        image=image,
        mode=mode,
        instance_type=instance_type,
        min_instances=min_instances,
        max_instances=max_instances,
        scaling_target=scaling_target,
        memory_mb=memory_mb,
        max_concurrency=max_concurrency,
        output_uri=output_uri,
        traffic=traffic,
        alarms=alarms,
        kms_key=kms_key,
        deployment_extra=deployment_extra,
        max_latency_ms=max_latency_ms,
    ).set_display_name("Fine-tune and deploy")
