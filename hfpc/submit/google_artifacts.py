"""Artifact types of Google's own components, so that theirs and ours can be wired together.

The same names as in `google_cloud_pipeline_components.types.artifact_types`, which the core does not install.
"""

from kfp import dsl


class VertexModel(dsl.Artifact):  # type: ignore[misc]  # kfp has no types
    """A version of a model in Vertex AI's Model Registry; its metadata has `resourceName`."""

    schema_title = "google.VertexModel"
    schema_version = "0.0.1"


class VertexEndpoint(dsl.Artifact):  # type: ignore[misc]  # kfp has no types
    """An endpoint of Vertex AI; its metadata has `resourceName`."""

    schema_title = "google.VertexEndpoint"
    schema_version = "0.0.1"


class VertexBatchPredictionJob(dsl.Artifact):  # type: ignore[misc]  # kfp has no types
    """A batch prediction of Vertex AI; its metadata has `resourceName` and `gcsOutputDirectory`."""

    schema_title = "google.VertexBatchPredictionJob"
    schema_version = "0.0.1"
