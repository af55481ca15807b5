import pytest

from hfpc.errors import ArgumentError
from hfpc.training.arguments import choose_precision, read_extra, training_arguments
from hfpc.training.finetune import FinetuneConfig


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("weight_decay", "0.01", 0.01),
        ("weight_decay", 1, 1.0),
        ("gradient_accumulation_steps", 4.0, 4),
        ("gradient_accumulation_steps", "4", 4),
        ("gradient_checkpointing", "true", True),
        ("gradient_checkpointing", "False", False),
        ("gradient_checkpointing", True, True),
        ("lr_scheduler_type", "cosine", "cosine"),
        ("lr_scheduler_kwargs", '{"num_cycles": 2}', {"num_cycles": 2}),
        ("lr_scheduler_kwargs", {"num_cycles": 2}, {"num_cycles": 2}),
        ("eval_steps", "null", None),
        ("eval_steps", "10", 10.0),
        ("run_name", "7", "7"),
        ("optim_args", "a=1", "a=1"),
    ],
)
def test_values_become_what_the_field_takes(name, given, read):
    value = read_extra({name: given})[name]
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gradient_accumulation_steps", 1.5, "`gradient_accumulation_steps` must be int"),
        ("gradient_accumulation_steps", "many", "`gradient_accumulation_steps` must be int"),
        ("gradient_checkpointing", "maybe", "`gradient_checkpointing` must be bool"),
        ("gradient_checkpointing", 1, "`gradient_checkpointing` must be bool"),
        ("weight_decay", True, "`weight_decay` must be float"),
        ("weight_decay", None, "`weight_decay` must be float"),
        ("eval_steps", [1], "`eval_steps` must be float or null"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, message):
    with pytest.raises(ArgumentError, match=message):
        read_extra({name: value})


def test_unknown_names_are_refused_with_the_closest_first():
    with pytest.raises(ArgumentError, match=r"valid ones are weight_decay, .*adam_beta1, .*warmup_steps") as caught:
        read_extra({"wieght_decay": 0.1})
    assert "learning_rate" not in str(caught.value)
    assert "output_dir" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("learning_rate", "set it as `learning_rate`"),
        ("num_train_epochs", "set it as `epochs`"),
        ("bf16", "set it as `precision`"),
        ("save_strategy", "set `save_steps` to choose how often"),
        ("resume_from_checkpoint", "a restart always goes on"),
        ("hub_token", "models are published from the finished model"),
    ],
)
def test_what_is_set_elsewhere_is_refused(name, fix):
    with pytest.raises(ArgumentError, match=fix):
        read_extra({name: 1})


def test_the_names_that_are_set_elsewhere_exist():
    import dataclasses

    from transformers import TrainingArguments

    from hfpc.training import arguments

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert not arguments._OWN.keys() & arguments._FIXED.keys()
    # `local_rank`, `logging_dir` and others leave Transformers sooner or later; nothing else may be missing.
    assert (arguments._OWN.keys() | arguments._FIXED.keys()) - fields <= {"local_rank", "logging_dir"}


def make(tmp_path, **config):
    return training_arguments(FinetuneConfig(**config), tmp_path, main_metric="accuracy", validated=True)


def test_values_that_transformers_refuses_name_extra(tmp_path):
    with pytest.raises(ArgumentError, match=r"extra=.*lr_scheduler_type.*zigzag.*is not a valid SchedulerType"):
        make(tmp_path, extra={"lr_scheduler_type": "zigzag"})


def test_extra_overrides_our_defaults_only(tmp_path):
    plain, changed = make(tmp_path), make(tmp_path, extra={"optim": "adafactor", "logging_steps": 5})
    assert (plain.optim, plain.logging_steps, plain.per_device_eval_batch_size) == ("adamw_torch_fused", 0.01, 32)
    assert (changed.optim, changed.logging_steps) == ("adafactor", 5)


def test_precision_follows_the_device():
    assert choose_precision("auto", use_cpu=True) == "fp32"
    assert choose_precision("bf16", use_cpu=True) == "bf16"
    with pytest.raises(ArgumentError, match="precision='fp16': there is no GPU here"):
        choose_precision("fp16", use_cpu=True)


def test_a_misspelt_name_shows_when_the_configuration_is_made():
    with pytest.raises(ArgumentError, match="valid ones are weight_decay"):
        FinetuneConfig(extra={"wieght_decay": 0.1})
