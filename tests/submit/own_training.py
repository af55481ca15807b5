"""Pipelines that a user may write, for tests of profiles."""

from kfp import dsl

from hfpc.components import finetune, load_dataset, preprocess


@dsl.pipeline(name="two-trainings")
def two_trainings():
    data = load_dataset(source="sample:tweets")
    tokens = preprocess(dataset=data.outputs["dataset"], base_model="sample:minilm").outputs["tokenized"]
    finetune(tokenized=tokens, epochs=1.0).set_env_variable("NCCL_DEBUG", "INFO")
    finetune(tokenized=tokens, epochs=2.0, processes=0).set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)


@dsl.pipeline(name="on-four")
def on_four():
    data = load_dataset(source="sample:tweets")
    tokens = preprocess(dataset=data.outputs["dataset"], base_model="sample:minilm").outputs["tokenized"]
    finetune(tokenized=tokens, processes=4)


@dsl.pipeline(name="no-training")
def no_training():
    load_dataset(source="sample:tweets")
