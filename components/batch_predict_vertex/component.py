"""Component: predict a whole file on machines of Vertex AI."""

from typing import Dict

from kfp import dsl
from kfp.dsl import Input, Metrics, Output

from hfpc import images
from hfpc.submit.google_artifacts import VertexBatchPredictionJob, VertexModel


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def batch_predict_vertex(
    registered: Input[VertexModel],
    job: Output[VertexBatchPredictionJob],
    metrics: Output[Metrics],
    source: str,
    destination: str,
    machine_type: str = "n1-standard-4",
    accelerator_type: str = "",
    accelerator_count: int = 0,
    replicas: int = 1,
    max_replicas: int = 1,
    batch_size: int = 64,
    service_account: str = "",
    parameters: dict = {},
    labels: Dict[str, str] = {},
    timeout_hours: float = 24.0,
    extra: dict = {},
):
    """Predicts every line of a file with a registered model, on machines that Vertex AI starts for it.

    Run again, it waits for the job that it started, or takes what that made, as long as model, source,
    destination, parameters and batch_size are the same and the source's files were not changed. Fails
    when no line could be predicted, and names the first errors.

    Args:
        registered: A model from `register_vertex_model`.
        source: JSON lines (`gs://…/rows.jsonl`, one `*` for several files); each line is an input of the
            task, `"text"` or `{"inputs": "text"}`.
        destination: Folder (`gs://`) in which the job makes a folder of its own.
        machine_type: Machine type of each replica.
        accelerator_type: Accelerator of each replica, e.g. `NVIDIA_L4`; empty for none.
        accelerator_count: Accelerators a replica.
        replicas: Replicas that work from the start.
        max_replicas: Most replicas that Vertex AI may start.
        batch_size: Lines in each request to a replica, at most 256; one that is refused takes the others of
            its request along.
        service_account: Account that the container runs as; empty for Vertex AI's own.
        parameters: Parameters of the task, e.g. `{"top_k": 1}`.
        labels: Labels of the job.
        timeout_hours: Hours that are waited for the job.
        extra: Rare settings: `kms_key`, resource name of the Cloud KMS key that encrypts what the job makes.

    Returns:
        job: The job, as Google's own components take it too; `gcsOutputDirectory` in its metadata is the
            folder with the predictions.
        metrics: Rows predicted, and rows that were not.
    """
    from hfpc.sinks.artifact_uri import set_uri
    from hfpc.sinks.vertex_batch import (
        BatchPredictVertexConfig,
        batch_predict,
        extra_settings,
        registered_name,
        resource_uri,
    )

    config = BatchPredictVertexConfig(
        source=source,
        destination=destination,
        machine_type=machine_type,
        accelerator_type=accelerator_type,
        accelerator_count=int(accelerator_count),
        replicas=int(replicas),
        max_replicas=int(max_replicas),
        batch_size=int(batch_size),
        service_account=service_account,
        parameters=parameters,
        labels=labels,
        timeout_hours=timeout_hours,
        **extra_settings(extra),
    )
    batch = batch_predict(registered_name(registered.metadata), config)
    set_uri(job, resource_uri(batch.resource))
    job.metadata.update(batch.metadata)
    for name, value in batch.metrics.items():
        metrics.log_metric(name, value)
