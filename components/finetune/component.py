"""Component: fine-tune a model."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def finetune(
    tokenized: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    curves: Output[HTML],
    tensorboard: Output[Artifact],
    epochs: float = 3.0,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    precision: str = "auto",
    label_weights: str = "none",
    lora_rank: int = 0,
    early_stopping_patience: int = 0,
    checkpoint_uri: str = "",
    seed: int = 42,
    processes: int = 0,
    extra: dict = {},
):
    """Fine-tunes the model that a data set was tokenized for, with Trainer on Accelerate.

    Batches hold rows of similar length and are padded to their longest row only. Killed at any
    moment and started again with the same arguments, it goes on from the last complete checkpoint
    and ends with the weights of an uninterrupted run. Each accelerator of the machine gets a
    process, and the nodes of a Vertex AI custom job or a Kubeflow TrainJob train together. Nodes with
    disks of their own go on after a restart if there is a `checkpoint_uri`; without, they begin anew.

    Args:
        tokenized: A tokenized data set from `preprocess`; it names the base model.
        epochs: Passes over the training rows; fractions are allowed.
        learning_rate: Peak learning rate. The default suits full fine-tuning of BERT-sized
            models; LoRA usually wants ten times as much.
        batch_size: Rows per optimizer step and device.
        precision: `auto` (bf16 where the device computes in it, else fp32), `fp32`, `bf16` or
            `fp16`.
        label_weights: `none`, or `balanced` to weigh each label by its inverse frequency.
        lora_rank: Rank of LoRA adapters, merged into the model at the end; 0 trains all weights.
        early_stopping_patience: Evaluations without improvement of the task's main validation
            metric before training stops, and the best weights are kept; 0 trains to the end.
        checkpoint_uri: Where checkpoints are copied (`gs://`, `s3://`, a path), so that a restart
            on another machine finds them. Empty keeps them on this machine only. Of equal runs that
            share the place, the one that started last copies there.
        seed: Seed of the head's first weights, of the order of rows and of dropout.
        processes: Processes that must train together, one a device, on all nodes; if another
            number runs, the step fails before it reads any data. 0 takes what there are.
        extra: Any other `transformers.TrainingArguments`, by name, e.g. `{"weight_decay": 0.01}`.
            `save_steps` says how often a checkpoint is written; by default every five minutes.

    Returns:
        model: A Transformers folder in safetensors, with its tokenizer, model card, golden
            requests and `hfpc.json`.
        metrics: Metrics on the validation rows.
        curves: Loss, learning rate and validation metrics over the steps.
        tensorboard: TensorBoard event files.
    """
    from pathlib import Path

    from hfpc.training.launch import FinetuneConfig, launch

    config = FinetuneConfig(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        precision=precision,
        label_weights=label_weights,
        lora_rank=lora_rank,
        early_stopping_patience=early_stopping_patience,
        checkpoint_uri=checkpoint_uri,
        seed=seed,
        extra=extra,
    )
    record = launch(
        config,
        Path(tokenized.path),
        Path(model.path),
        Path(curves.path),
        Path(tensorboard.path),
        processes=processes,
    )
    model.framework = "transformers"
    model.metadata.update(base_model=record.base_model, revision=record.revision, fingerprint=record.fingerprint)
    for name, value in record.metrics.items():
        metrics.log_metric(name, value)
