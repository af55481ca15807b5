"""The pipelines: `from hfpc.pipelines import train_and_evaluate`."""

from hfpc.pipelines.finetune_local.pipeline import finetune_local
from hfpc.pipelines.train_and_evaluate.pipeline import train_and_evaluate

__all__ = ["finetune_local", "train_and_evaluate"]
