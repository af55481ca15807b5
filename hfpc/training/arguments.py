"""`transformers.TrainingArguments` from a `FinetuneConfig`: what we set, what `extra` may set."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc.errors import ArgumentError

if TYPE_CHECKING:
    from hfpc.training.finetune import FinetuneConfig

_OWN = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "bf16": "precision",
    "fp16": "precision",
    "seed": "seed",
    "data_seed": "seed",
    "load_best_model_at_end": "early_stopping_patience",
}
"""TrainingArguments that have a parameter of their own; each is set in one place only."""

_METRIC = "early stopping and selection follow the task's main metric"
_METRICS = "the validation metrics need it as it is"
_RESUME = "a restart always goes on exactly where the last checkpoint was"
_SAVE = "set `save_steps` to choose how often a checkpoint is written; old ones are removed"
_ROWS = "batches always hold rows of similar length, in an order that `seed` decides"
_HUB = "models are published from the finished model, not while they are trained"
_FIXED = {
    "metric_for_best_model": _METRIC,
    "greater_is_better": _METRIC,
    "prediction_loss_only": _METRICS,
    "batch_eval_metrics": _METRICS,
    "eval_do_concat_batches": _METRICS,
    "include_for_metrics": _METRICS,
    "label_names": _METRICS,
    "resume_from_checkpoint": _RESUME,
    "ignore_data_skip": _RESUME,
    "restore_callback_states_from_checkpoint": _RESUME,
    "save_strategy": _SAVE,
    "save_total_limit": _SAVE,
    "save_only_model": _SAVE,
    "save_on_each_node": _SAVE,
    "enable_jit_checkpoint": _SAVE,
    "remove_unused_columns": _ROWS,
    "train_sampling_strategy": _ROWS,
    "length_column_name": _ROWS,
    "output_dir": "checkpoints are kept in $HFPC_HOME and at `checkpoint_uri`",
    "logging_dir": "TensorBoard events go to the `tensorboard` output",
    "disable_tqdm": "progress is always told in lines",
    "local_rank": "the launcher sets it",
    "do_train": "it has no meaning here",
    "do_eval": "set `eval_strategy`",
    "do_predict": "it has no meaning here",
    "push_to_hub": _HUB,
    "hub_token": _HUB,
    "hub_private_repo": _HUB,
    "hub_model_id": _HUB,
    "hub_strategy": _HUB,
    "hub_always_push": _HUB,
    "hub_revision": _HUB,
}
"""TrainingArguments that cannot be changed, and why or what to do instead."""


def training_arguments(config: "FinetuneConfig", output_dir: Path, *, main_metric: str, validated: bool) -> Any:
    """The `TrainingArguments` of a fine-tuning.

    Args:
        config: What to train and how.
        output_dir: Where checkpoints go.
        main_metric: The task's main metric.
        validated: Whether there are validation rows.

    Raises:
        ArgumentError: `extra` names what does not exist or is set elsewhere, or holds a value that
            cannot be used; or this machine does not compute in the precision asked for.
    """
    import torch
    from transformers import TrainingArguments

    extra = read_extra(config.extra)
    use_cpu = bool(extra.get("use_cpu")) or not _accelerated()
    precision = choose_precision(config.precision, use_cpu=use_cpu)
    defaults = {
        "per_device_eval_batch_size": config.batch_size,
        "eval_strategy": "epoch" if validated else "no",
        "optim": "adamw_torch_fused",
        "logging_steps": 0.01,  # of all steps: a hundred points for the curves
        "logging_nan_inf_filter": False,  # a loss that is no number must show
        "report_to": "none",
    }
    own = {
        "output_dir": str(output_dir),
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.batch_size,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": use_cpu,
        "seed": config.seed,
        # Besides the regular checkpoints, those that early stopping may return to.
        "save_strategy": "best" if config.early_stopping_patience else "no",
        "load_best_model_at_end": bool(config.early_stopping_patience),
        "metric_for_best_model": f"eval_{main_metric}" if validated else None,
        "greater_is_better": True,
        "restore_callback_states_from_checkpoint": True,
        "disable_tqdm": True,
    }
    try:
        arguments = TrainingArguments(**{**defaults, **extra, **own})
    except (ValueError, TypeError) as error:
        raise ArgumentError("extra", config.extra, str(error)) from error
    if arguments.device.type == "cpu":
        # Accelerate numbers the CPUs of processes that train together; Trainer cannot load an optimizer to `cpu:0`.
        vars(arguments)["_setup_devices"] = torch.device("cpu")
    evaluated = arguments.eval_strategy != "no"
    if evaluated and not validated:
        raise ArgumentError("extra", config.extra, "there are no validation rows: leave `eval_strategy` out")
    if config.early_stopping_patience and not evaluated:
        raise ArgumentError("extra", config.extra, "early stopping needs evaluations: leave `eval_strategy` out")
    return arguments


def read_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `extra` in the types that `TrainingArguments` declares.

    Pipelines hand numbers over as floats and, where a component takes strings only, everything as
    strings.

    Raises:
        ArgumentError: A name is unknown or set elsewhere, or a value is not of its type.
    """
    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(TrainingArguments)}
    for name in extra:
        if name in _OWN:
            raise ArgumentError("extra", {name: extra[name]}, f"set it as `{_OWN[name]}`")
        if name in _FIXED:
            raise ArgumentError("extra", {name: extra[name]}, f"it cannot be set: {_FIXED[name]}")
        if name not in fields:
            raise ArgumentError("extra", {name: extra[name]}, _unknown(name, list(fields)))
    return {name: _convert(name, value, fields[name]) for name, value in extra.items()}


def choose_precision(precision: str, *, use_cpu: bool) -> str:
    """The precision that `auto` means on this machine, or the given one where it can be used.

    Raises:
        ArgumentError: This machine does not compute in it.
    """
    import torch

    if use_cpu:
        if precision == "fp16":
            raise ArgumentError("precision", precision, "there is no GPU here for it; use auto, fp32 or bf16")
        # A CPU computes in bf16 too, but most of them more slowly than in fp32.
        return "fp32" if precision == "auto" else precision
    native = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not native:
        raise ArgumentError("precision", precision, "this GPU does not compute in it; use auto, fp16 or fp32")
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and native else "fp32"
    return precision


def _accelerated() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


def _unknown(name: str, fields: list[str]) -> str:
    valid = [field for field in fields if field not in _OWN and field not in _FIXED]
    close = difflib.get_close_matches(name, valid)
    rest = sorted(set(valid) - set(close))
    return f"there is no such TrainingArguments field; valid ones are {', '.join([*close, *rest])}"


def _convert(name: str, value: Any, annotation: Any) -> Any:
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    kinds = {typing.get_origin(option) or option for option in options}
    read = value
    if isinstance(value, str) and kinds & {bool, int, float, dict, list}:
        try:
            read = json.loads(value if value not in ("True", "False") else value.lower())
        except json.JSONDecodeError:
            read = value
    if isinstance(read, bool):
        if bool in kinds:
            return read
    elif isinstance(read, int | float):
        if int in kinds and read == int(read):
            return int(read)
        if float in kinds:
            return float(read)
    elif read is None:
        if type(None) in kinds:
            return None
    elif type(read) in kinds:
        return read
    if isinstance(value, str) and str in kinds:
        return value
    wanted = " or ".join(sorted(kind.__name__.replace("NoneType", "null") for kind in kinds))
    raise ArgumentError("extra", {name: value}, f"`{name}` must be {wanted}")
