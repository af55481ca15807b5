"""Pipelines that a user may write, for tests of profiles."""

from kfp import dsl, kubernetes

from hfpc.components import evaluate, finetune, load_dataset, preprocess


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


@dsl.pipeline(name="with-settings")
def with_settings():
    data = load_dataset(source="sample:tweets")
    tokens = preprocess(dataset=data.outputs["dataset"], base_model="sample:minilm").outputs["tokenized"]
    training = finetune(tokenized=tokens).set_retry(1)
    kubernetes.use_secret_as_env(training, "mine", {"key": "HF_TOKEN"})
    kubernetes.empty_dir_mount(training, "own", "/dev/shm", medium="Memory", size_limit="1Gi")
    kubernetes.add_node_selector(training, "nvidia.com/gpu.product", "NVIDIA-L40S")


@dsl.component(base_image="python:3.11")
def compare_models(name: str):
    """Another's step, which happens to have the name of one of ours."""


@dsl.pipeline(name="with-own-memory")
def with_own_memory():
    data = load_dataset(source="sample:tweets").outputs["dataset"]
    tokens = preprocess(dataset=data, base_model="sample:minilm").outputs["tokenized"]
    model = finetune(tokenized=tokens).outputs["model"]
    evaluate(model=model, dataset=data).set_memory_limit("64G")
    compare_models(name="mine")
