"""The pipelines: `from hfpc.pipelines import train_and_evaluate`."""

from hfpc.pipelines.finetune_local.pipeline import finetune_local
from hfpc.pipelines.finetune_vertex.pipeline import finetune_vertex
from hfpc.pipelines.retrain_vertex.pipeline import retrain_vertex
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate

__all__ = ["finetune_local", "finetune_vertex", "retrain_vertex", "train_and_evaluate"]
