"""Raw rows to a fine-tuned, measured model: the part that every pipeline shares."""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model

from hfpc.components import evaluate, finetune, load_dataset, preprocess
from hfpc.components import optimize as optimize_component


@dsl.pipeline(name="train-and-evaluate", display_name="Train and evaluate")
def train_and_evaluate(
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
) -> NamedTuple("Outputs", dataset=Dataset, model=Model, predictions=Dataset):
    """Loads and splits a data set, tokenizes it, fine-tunes a model and measures it on the test split.

    Args:
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
        max_length: Tokens a text is cut to, here and when the model is asked; 0 chooses from the data, at least 128.
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
            measured on the test split.
        max_metric_loss: Most of the task's main metric that a faster form may lose on the
            validation split, in its own unit: 0.01 is one point of accuracy.
        slice_columns: Columns whose values the evaluation reports apart.
        seed: Seed of the training and of the resampling of the evaluation.

    Returns:
        dataset: The cleaned, split data set.
        model: The fine-tuned model, in the form that was kept.
        predictions: Its predictions on the test split.
    """
    # Nothing tells a cache that a source has changed behind the same URI.
    loading = load_dataset(
        source=source,
        task=task,
        revision=source_revision,
        columns=columns,
        labels=labels,
        max_rows=max_rows,
        validation_share=validation_share,
        test_share=test_share,
        seed=split_seed,
        extra=source_extra,
    )
    loading.set_display_name("Load data set").set_caching_options(False)
    tokenizing = preprocess(
        dataset=loading.outputs["dataset"],
        base_model=base_model,
        revision=base_revision,
        max_length=max_length,
        trust_remote_code=trust_remote_code,
    ).set_display_name("Tokenize")
    training = finetune(
        tokenized=tokenizing.outputs["tokenized"],
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        precision=precision,
        label_weights=label_weights,
        lora_rank=lora_rank,
        early_stopping_patience=early_stopping_patience,
        checkpoint_uri=checkpoint_uri,
        seed=seed,
        extra=training_extra,
    ).set_display_name("Fine-tune")
    # A step that passes the model on, and not a condition: kfp.local cannot choose between artifacts.
    optimizing = optimize_component(
        model=training.outputs["model"],
        dataset=loading.outputs["dataset"],
        enabled=optimize,
        max_metric_loss=max_metric_loss,
        seed=seed,
        trust_remote_code=trust_remote_code,
    ).set_display_name("Optimize")
    measuring = evaluate(
        model=optimizing.outputs["optimized"],
        dataset=loading.outputs["dataset"],
        slice_columns=slice_columns,
        trust_remote_code=trust_remote_code,
        seed=seed,
    ).set_display_name("Evaluate")
    outputs = NamedTuple("Outputs", dataset=Dataset, model=Model, predictions=Dataset)
    return outputs(
        dataset=loading.outputs["dataset"],
        model=optimizing.outputs["optimized"],
        predictions=measuring.outputs["predictions"],
    )
