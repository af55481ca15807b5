"""The pipelines: `from hfpc.pipelines import train_and_evaluate`."""

from hfpc.pipelines.finetune_kubeflow.pipeline import finetune_kubeflow
from hfpc.pipelines.finetune_local.pipeline import finetune_local
from hfpc.pipelines.finetune_sagemaker.pipeline import finetune_sagemaker
from hfpc.pipelines.finetune_vertex.pipeline import finetune_vertex
from hfpc.pipelines.retrain_vertex.pipeline import retrain_vertex
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate
from hfpc.pipelines.vertex_to_sagemaker.pipeline import vertex_to_sagemaker

__all__ = [
    "finetune_kubeflow",
    "finetune_local",
    "finetune_sagemaker",
    "finetune_vertex",
    "retrain_vertex",
    "train_and_evaluate",
    "vertex_to_sagemaker",
]
