"""Raw rows to a fine-tuned, measured model: the part that every pipeline shares."""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model

from hfpc.components import evaluate, finetune, load_dataset, preprocess


@dsl.pipeline(name="train-and-evaluate", display_name="Train and evaluate")
def train_and_evaluate(
    source: str = "sample:tweets",
    task: str = "text-classification",
    source_revision: str = "",
    columns: Dict[str, str] = {},
    labels: List[str] = [],
    max_rows: int = 0,
    base_model: str = "sample:minilm",
    base_revision: str = "",
    max_length: int = 0,
    epochs: float = 3.0,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    label_weights: str = "none",
    lora_rank: int = 0,
    early_stopping_patience: int = 0,
    checkpoint_uri: str = "",
    slice_columns: List[str] = [],
    seed: int = 42,
) -> NamedTuple("Outputs", dataset=Dataset, model=Model, predictions=Dataset):
    """Loads and splits a data set, tokenizes it, fine-tunes a model and measures it on the test split.

    Args:
        source: Data set; see `load_dataset`.
        task: Task name, `text-classification` or `token-classification`.
        source_revision: Branch, tag or commit of a Hub data set.
        columns: Role to column name; see `load_dataset`.
        labels: Only rows with these labels are kept; empty keeps all.
        max_rows: Rows to keep; 0 keeps all.
        base_model: Model to fine-tune; see `preprocess`.
        base_revision: Branch, tag or commit of a Hub model.
        max_length: Tokens a row is cut to; 0 chooses from the data.
        epochs: Passes over the training rows.
        learning_rate: Peak learning rate.
        batch_size: Rows per optimizer step and device.
        label_weights: `none` or `balanced`.
        lora_rank: Rank of LoRA adapters; 0 trains all weights.
        early_stopping_patience: Evaluations without improvement before training stops; 0 never.
        checkpoint_uri: Where checkpoints are copied.
        slice_columns: Columns whose values the evaluation reports apart.
        seed: Seed of the split, the training and the resampling.

    Returns:
        dataset: The cleaned, split data set.
        model: The fine-tuned model.
        predictions: Its predictions on the test split.
    """
    loading = load_dataset(
        source=source,
        task=task,
        revision=source_revision,
        columns=columns,
        labels=labels,
        max_rows=max_rows,
        seed=seed,
    ).set_display_name("Load data set")
    tokenizing = preprocess(
        dataset=loading.outputs["dataset"],
        base_model=base_model,
        revision=base_revision,
        max_length=max_length,
    ).set_display_name("Tokenize")
    training = finetune(
        tokenized=tokenizing.outputs["tokenized"],
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        label_weights=label_weights,
        lora_rank=lora_rank,
        early_stopping_patience=early_stopping_patience,
        checkpoint_uri=checkpoint_uri,
        seed=seed,
    ).set_display_name("Fine-tune")
    measuring = evaluate(
        model=training.outputs["model"],
        dataset=loading.outputs["dataset"],
        slice_columns=slice_columns,
        seed=seed,
    ).set_display_name("Evaluate")
    outputs = NamedTuple("Outputs", dataset=Dataset, model=Model, predictions=Dataset)
    return outputs(
        dataset=loading.outputs["dataset"],
        model=training.outputs["model"],
        predictions=measuring.outputs["predictions"],
    )
