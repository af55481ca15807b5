"""Component: rows to token ids."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def preprocess(
    dataset: Input[Dataset],
    tokenized: Output[Dataset],
    metrics: Output[Metrics],
    base_model: str = "sample:minilm",
    revision: str = "",
    max_length: int = 0,
    trust_remote_code: bool = False,
    workers: int = 0,
):
    """Tokenizes a data set with the tokenizer of the model that will be fine-tuned.

    Args:
        dataset: A data set from `load_dataset`.
        base_model: Model to fine-tune: `sample:minilm`, a folder, a URI or a Hub id.
        revision: Branch, tag or commit of a Hub model. The commit SHA it means is recorded, and
            `finetune` loads exactly that commit.
        max_length: Tokens a row is cut to. 0 takes the 99th percentile of the training rows,
            at least 128, so that a model tuned on short texts also reads longer ones, and at most what the
            model allows.
        trust_remote_code: Let the model's own Python code run, here and in every later step.
        workers: Threads that tokenize; 0 takes one for each core.

    Returns:
        tokenized: `datasets.save_to_disk` folders per split, and `hfpc.json`.
        metrics: Chosen length, token-count percentiles, and the share of rows that is cut.
    """
    from pathlib import Path

    from hfpc.data.preprocess import PreprocessConfig, preprocess

    config = PreprocessConfig(
        base_model=base_model,
        revision=revision,
        max_length=max_length,
        trust_remote_code=trust_remote_code,
        workers=workers,
    )
    record = preprocess(config, Path(dataset.path), Path(tokenized.path))
    tokenized.metadata.update(base_model=record.base_model, revision=record.revision)
    metrics.log_metric("max_length", record.max_length)
    metrics.log_metric("truncated_share", record.truncated_share)
    for name, tokens in record.lengths.items():
        metrics.log_metric(f"tokens_{name}", tokens)
