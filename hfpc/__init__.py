"""Hugging Face models on Kubeflow Pipelines and Vertex AI Pipelines."""

__version__ = "0.1.0"
