"""The model that is trained: the base model with a head for the labels, and LoRA adapters if asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hfpc.base_model import BaseModel
from hfpc.errors import ModelError
from hfpc.tasks import Task

LORA_DROPOUT = 0.05


def load(base: BaseModel, task: Task, label_names: Sequence[str], *, lora_rank: int, seed: int) -> Any:
    """The model to train, in fp32.

    Args:
        base: The base model.
        task: Whose head it gets.
        label_names: Class names by id.
        lora_rank: Rank of LoRA adapters on all linear layers; 0 adds none.
        seed: Seed of weights that the base model lacks: its head, and adapters.

    Raises:
        ModelError: The base model does not load, or some of its weights are missing or of another size.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    model, loading = base.load(
        task.auto_model(),
        num_labels=len(label_names),
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # a head for other labels is replaced
        output_loading_info=True,
    )
    _refuse_random_weights(base, model.base_model_prefix, loading)
    # Otherwise BERT's weights would be saved under the names they had in 2018, which few other tools read.
    model._weight_conversions = None
    if not lora_rank:
        return model
    return _add_lora(model, lora_rank, {key.rpartition(".")[0] for key in loading["missing_keys"]})


def balanced_weights(labels: Any, label_count: int) -> list[float]:
    """Inverse frequency of each label, 1 on average over what is labelled.

    Args:
        labels: Arrow column of label ids, or of lists of them in which -100 is no label.
        label_count: How many labels there are. One that never occurs weighs 1.
    """
    import pyarrow as pa

    if pa.types.is_list(labels.type) or pa.types.is_large_list(labels.type):
        labels = pa.compute.list_flatten(labels)
    ids = labels.to_numpy()
    counts = np.bincount(ids[ids != -100], minlength=label_count)
    present = counts > 0
    weights = np.divide(counts.sum() / present.sum(), counts, out=np.ones(label_count), where=present)
    return [float(weight) for weight in weights]


def _refuse_random_weights(base: BaseModel, prefix: str, loading: dict[str, Any]) -> None:
    """Raises ModelError where the base itself would start from random weights; a head and a pooler may."""
    absent = set(loading["missing_keys"]) | {key for key, *_ in loading["mismatched_keys"]}
    wrong = sorted(key for key in absent if key.startswith(f"{prefix}.") and "pooler" not in key.split("."))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ModelError(
            f"{base.folder} lacks weights that fit its config.json ({', '.join(wrong[:3])}{more}), "
            "and training would start from random ones: give a whole copy of the model"
        )


def _add_lora(model: Any, rank: int, fresh: set[str]) -> Any:
    """Adapters on the linear layers of the base; the head, and what the base model lacked, is trained whole."""
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    base = f"{model.base_model_prefix}."
    head = [
        name
        for name, child in model.named_children()
        if f"{name}." != base and next(child.parameters(), None) is not None
    ]
    whole = [*head, *sorted(name for name in fresh if name.startswith(base))]
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(base) and name not in whole
    ]
    adapters = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=LORA_DROPOUT, target_modules=linear, modules_to_save=whole
    )
    return get_peft_model(model, adapters)
