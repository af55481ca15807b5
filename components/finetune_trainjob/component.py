"""Component: fine-tune a model on several nodes of a Kubernetes cluster."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def finetune_trainjob(
    tokenized: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    name: str,
    output_uri: str,
    namespace: str = "",
    nodes: int = 1,
    processes_per_node: int = 1,
    resources: Dict[str, str] = {"cpu": "4", "memory": "16Gi"},
    epochs: float = 3.0,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    checkpoint_uri: str = "",
    restarts: int = 0,
    training: dict = {},
    extra: dict = {},
):
    """Fine-tunes as `finetune` does, on the nodes of a TrainJob of Kubeflow Trainer, and waits for it.

    Every node reads the data set from its store; node 0 writes the model to `output_uri`. Run again
    with the same arguments, the step waits for the job that runs, or takes what it made. A job that
    fails is deleted, and its reason told in one line.

    Args:
        tokenized: A tokenized data set from `preprocess`, in a store that all nodes reach.
        name: Beginning of the job's name.
        output_uri: Folder in a store (`gs://`, `s3://`) below which the outputs are written.
        namespace: Namespace; empty for the one that the step runs in.
        nodes: Number of nodes.
        processes_per_node: Processes on each node, one an accelerator.
        resources: What each node asks for and is limited to, e.g. `{"nvidia.com/gpu": "4"}`.
        epochs: Passes over the training rows; fractions are allowed.
        learning_rate: Peak learning rate.
        batch_size: Rows per optimizer step and process.
        checkpoint_uri: Where checkpoints are copied, so that a job goes on after a restart.
        restarts: How often a job is made again whose nodes were lost, such as spot machines; needs a
            `checkpoint_uri`.
        training: Other settings of `finetune` by name: `precision`, `label_weights`, `lora_rank`,
            `early_stopping_patience`, `seed`, and `extra` for those of Transformers.
        extra: Rare settings of the job by name: `runtime`, `image`, `service_account`,
            `node_selector`, `tolerations`, `environment`, `secrets`, `shared_memory`, `start_seconds`,
            `total_seconds`.
            Where the data or outputs lie in Kubeflow's own store (`minio://`, `s3://`), nodes need
            `AWS_ENDPOINT_URL` in `environment`, e.g. `http://minio-service.kubeflow:9000`.

    Returns:
        model: A copy of the model; `artifact_uri` in its metadata is where node 0 wrote it.
        metrics: Metrics on the validation rows.
    """
    from hfpc.sinks.trainjob import FinetuneTrainjobConfig, extra_settings, location, train

    config = FinetuneTrainjobConfig(
        name=name,
        output_uri=output_uri,
        namespace=namespace,
        nodes=int(nodes),
        processes_per_node=int(processes_per_node),
        resources=resources,
        restarts=int(restarts),
        **extra_settings(extra),
    )
    settings = {
        **training,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": int(batch_size),
        "checkpoint_uri": checkpoint_uri,
    }
    trained = train(location(tokenized.uri), settings, config)
    trained.fetch(model.path)
    model.framework = "transformers"
    model.metadata.update(trained.metadata)
    for metric, value in trained.metrics.items():
        metrics.log_metric(metric, value)
