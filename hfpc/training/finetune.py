"""Fine-tuning: a tokenized data set to a model folder."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc import golden, manifest, storage, tasks
from hfpc.base_model import BaseModel, find, quiet
from hfpc.errors import ArgumentError, DataError
from hfpc.home import home
from hfpc.manifest import Manifest, ModelRecord
from hfpc.training.checkpoints import Checkpoints, locked

if TYPE_CHECKING:
    from hfpc.training.trainer import FinetuneTrainer

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LABEL_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What to train and how.

    Attributes:
        epochs: Passes over the training rows; fractions are allowed.
        learning_rate: Peak learning rate.
        batch_size: Rows per optimizer step and device.
        precision: "auto" (bf16 on a GPU that computes in it, else fp32), "fp32", "bf16" or "fp16".
        label_weights: "none", or "balanced" to weigh each label by its inverse frequency.
        lora_rank: Rank of LoRA adapters, merged into the model at the end; 0 trains all weights.
        early_stopping_patience: Evaluations without improvement of the task's main validation
            metric before training stops, and the best weights are kept; 0 trains to the end and
            keeps the last weights.
        checkpoint_uri: Where checkpoints are copied; "" keeps them on this machine only.
        seed: Seed of new weights, of the order of rows and of dropout.
        extra: Any other `transformers.TrainingArguments`, by name. `save_steps` says how often a
            checkpoint is written; without it, every five minutes, or less often where writing one
            would take more than a twentieth of the time.

    Raises:
        ArgumentError: A value cannot be used, or `extra` holds a name that the Transformers version
            that is installed does not have.
    """

    epochs: float = 3.0
    learning_rate: float = 5e-5
    batch_size: int = 32
    precision: str = "auto"
    label_weights: str = "none"
    lora_rank: int = 0
    early_stopping_patience: int = 0
    checkpoint_uri: str = ""
    seed: int = 42
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for argument in ("epochs", "learning_rate"):
            value = getattr(self, argument)
            if isinstance(value, str) or not 0 < value < float("inf"):
                raise ArgumentError(argument, value, "give a number greater than 0")
        for argument, least in (("batch_size", 1), ("lora_rank", 0), ("early_stopping_patience", 0), ("seed", 0)):
            value = getattr(self, argument)
            if isinstance(value, bool) or value != int(value) or value < least:
                raise ArgumentError(argument, value, f"give a whole number of at least {least}")
        if self.seed >= 2**32:
            raise ArgumentError("seed", self.seed, "give a whole number below 2**32")
        for argument, choices in (("precision", PRECISIONS), ("label_weights", LABEL_WEIGHTS)):
            if getattr(self, argument) not in choices:
                raise ArgumentError(argument, getattr(self, argument), f"choose one of {', '.join(choices)}")
        if self.extra:
            # Here and not only in training, so that a misspelt name shows before any data is read.
            from hfpc.training.arguments import read_extra

            read_extra(self.extra)


def finetune(config: FinetuneConfig, tokenized: Path, out: Path, curves: Path, tensorboard: Path) -> ModelRecord:
    """Fine-tunes the model that a data set was tokenized for.

    Killed at any moment and started again with the same arguments, it goes on from the last
    complete checkpoint and ends with the weights of an uninterrupted run. Nodes that train together
    go on from the newest checkpoint that each of them has or finds at `checkpoint_uri`; with disks of
    their own and no `checkpoint_uri` they begin anew, and say so. Only rank 0 writes outputs.

    Args:
        config: What to train and how.
        tokenized: Folder from `preprocess`.
        out: Folder of the model to make.
        curves: HTML file to make, with the loss and the validation metrics over the steps.
        tensorboard: Folder of TensorBoard event files to make; like all else it appears at the end.

    Returns:
        The model's record, in every process where several train together.

    Raises:
        ArgumentError: A parameter cannot be used here.
        DataError: `tokenized` has no rows to train on, or none to validate on where they are needed.
        ModelError: The base model does not load, or is not in safetensors.
        HfpcError: Checkpoints cannot be read or written on another node.
    """
    from hfpc.training.arguments import training_arguments
    from hfpc.training.processes import broadcast, together
    from hfpc.training.resume import resume
    from hfpc.training.trainer import TensorBoardEvents

    data = manifest.read(tokenized, "tokenized")
    assert data.dataset is not None and data.tokenized is not None
    validated = _has_validation(config, data.dataset.rows, tokenized)
    metric = tasks.get(data.task).main_metric
    arguments = training_arguments(config, home() / "checkpoints", main_metric=metric, validated=validated)
    with arguments.main_process_first(desc="finding the base model"):
        base = find(
            data.tokenized.base_model, data.tokenized.revision, trust_remote_code=data.tokenized.trust_remote_code
        )
    folder = home() / "checkpoints" / broadcast(_key(config, arguments, data, base))
    arguments.output_dir = str(folder)
    with (
        quiet(),
        locked(folder) if arguments.should_save else nullcontext(),
        tempfile.TemporaryDirectory(prefix="hfpc-events-") as events,
    ):
        checkpoints = Checkpoints(folder, f"{config.checkpoint_uri}/{folder.name}" if config.checkpoint_uri else "")
        resumption = resume(checkpoints, arguments)
        trainer = _trainer(config, arguments, data, base, tokenized, checkpoints)
        if arguments.should_save:
            trainer.add_callback(TensorBoardEvents(Path(events)))
        trainer.train(resume_from_checkpoint=resumption.checkpoint)
        record = _record(config, data, _validation_metrics(trainer) if validated else {})
        if arguments.should_save:
            record = _write(
                trainer, config, base, dataclasses.replace(data, kind="model", model=record), tokenized, out
            )
            _write_curves(curves, trainer.state.log_history)
            with storage.publishing(tensorboard) as staging:
                shutil.copytree(events, staging, dirs_exist_ok=True)
        record = broadcast(record)  # sent once the outputs are there
        together(lambda: checkpoints.remove() if resumption.keeps_disk else None)
        return record


def _has_validation(config: FinetuneConfig, rows: dict[str, int], tokenized: Path) -> bool:
    """Whether there are validation rows; raises DataError where rows are missing that are needed."""
    if not rows.get("train"):
        raise DataError(f"{tokenized} has no training rows: give load_dataset more rows or smaller shares to hold out")
    if config.early_stopping_patience and not rows.get("validation"):
        fix = "there are no validation rows to stop by: set it to 0, or make a validation split in load_dataset"
        raise ArgumentError("early_stopping_patience", config.early_stopping_patience, fix)
    return bool(rows.get("validation"))


def _key(config: FinetuneConfig, arguments: Any, data: Manifest, base: BaseModel) -> str:
    """Names the checkpoints: whatever decides the weights decides it, and nothing else."""
    from hfpc.training.arguments import read_extra

    files = [*base.folder.glob("*.safetensors"), *base.folder.glob("*.json"), *base.folder.glob("*.py")]
    parts = {
        **asdict(config),
        "checkpoint_uri": "",
        "precision": [arguments.bf16, arguments.fp16],
        "extra": read_extra(config.extra),
        "data": [asdict(data.dataset), asdict(data.tokenized)],  # type: ignore[arg-type]
        "base_model": base.revision or storage.fingerprint(files, base.folder),
        "versions": manifest.installed_versions(),
        "processes": arguments.world_size,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _trainer(
    config: FinetuneConfig, arguments: Any, data: Manifest, base: BaseModel, tokenized: Path, checkpoints: Checkpoints
) -> "FinetuneTrainer":
    import datasets
    from transformers import EarlyStoppingCallback, PrinterCallback

    from hfpc.training.model import balanced_weights, load
    from hfpc.training.trainer import FinetuneTrainer, ProgressLines, weighted_cross_entropy

    assert data.dataset is not None
    task, names = tasks.get(data.task), data.dataset.label_names
    tokenizer = base.tokenizer()
    train = datasets.load_from_disk(tokenized / "train")
    validation = datasets.load_from_disk(tokenized / "validation") if data.dataset.rows.get("validation") else None
    loss = None
    if config.label_weights == "balanced":
        weights = balanced_weights(train.data.column("labels"), len(names))
        loss = weighted_cross_entropy(weights, arguments.label_smoothing_factor)
    trainer = FinetuneTrainer(
        checkpoints=checkpoints,
        save_by_steps="save_steps" in config.extra,
        model=load(base, task, names, lora_rank=config.lora_rank, seed=config.seed),
        args=arguments,
        data_collator=task.collator(tokenizer),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        compute_loss_func=loss,
        compute_metrics=lambda given: task.step_metrics(given.predictions, given.label_ids, names),
        preprocess_logits_for_metrics=lambda logits, _: logits[0] if isinstance(logits, tuple) else logits,
        callbacks=[ProgressLines(len(train))],
    )
    trainer.remove_callback(PrinterCallback)
    if config.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(config.early_stopping_patience))
    return trainer


def _validation_metrics(trainer: "FinetuneTrainer") -> dict[str, float]:
    """Metrics of the weights that were kept; they were nearly always measured during the training."""
    kept = trainer.state.best_global_step or trainer.state.global_step
    measured = [entry for entry in trainer.state.log_history if entry["step"] == kept and "eval_loss" in entry]
    metrics = measured[-1] if measured else trainer.evaluate()
    return {
        f"validation/{name.removeprefix('eval_')}": float(value)
        for name, value in metrics.items()
        if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
    }


def _record(config: FinetuneConfig, data: Manifest, metrics: dict[str, float]) -> ModelRecord:
    assert data.tokenized is not None
    return ModelRecord(
        base_model=data.tokenized.base_model,
        revision=data.tokenized.revision,
        max_length=data.tokenized.max_length,
        parameters=asdict(config),
        metrics=metrics,
        fingerprint="",
        trust_remote_code=data.tokenized.trust_remote_code,
    )


def _write(
    trainer: "FinetuneTrainer", config: FinetuneConfig, base: BaseModel, record: Manifest, tokenized: Path, out: Path
) -> ModelRecord:
    from hfpc.training.export import write_model

    model = trainer.accelerator.unwrap_model(trainer.model)
    return write_model(
        out,
        model=model.merge_and_unload() if config.lora_rank else model,
        tokenizer=base.tokenizer(),
        history=trainer.state.log_history,
        golden_inputs=golden.read_inputs(tokenized),
        manifest=dataclasses.replace(record, versions=manifest.installed_versions()),
    )


def _write_curves(curves: Path, history: list[dict[str, Any]]) -> None:
    from hfpc.reports.training_curves import training_curves

    storage.write_text(curves, training_curves(history))
