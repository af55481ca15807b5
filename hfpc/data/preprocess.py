"""Stage: rows to token ids.

The first pass tokenizes every row at its full length and counts tokens. Then the length to cut to
is known, and the second pass tokenizes again only the rows that are longer: cutting ids would lose
the special tokens at their end. Both stream, so that memory does not grow with the data set.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfpc import base_model, golden, manifest, storage, tasks
from hfpc.errors import ArgumentError
from hfpc.manifest import Manifest, TokenizedRecord
from hfpc.progress import Reporter

if TYPE_CHECKING:
    import numpy as np

    from hfpc.data.tokenizing import Tokenizing

LEAST_LENGTH = 8
"""Tokens; a shorter limit would leave little beside the special tokens."""


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """How to tokenize.

    Attributes:
        base_model: Model to fine-tune: `sample:minilm`, a folder, a URI or a Hub id.
        revision: Branch, tag or commit of a Hub model; "" means `main`.
        max_length: Tokens a row is cut to; 0 takes the 99th percentile of the training rows, at
            least 128 and at most what the model allows.
        trust_remote_code: Let the model's own Python code run.
        workers: Threads that tokenize; 0 takes one for each core.

    Raises:
        ArgumentError: A value cannot be used.
    """

    base_model: str = "sample:minilm"
    revision: str = ""
    max_length: int = 0
    trust_remote_code: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.base_model:
            raise ArgumentError("base_model", self.base_model, "give sample:minilm, a folder, a URI or a Hub id")
        base_model.check(self.base_model, self.revision)
        if self.max_length != 0 and self.max_length < LEAST_LENGTH:
            raise ArgumentError(
                "max_length", self.max_length, f"give at least {LEAST_LENGTH} tokens, or 0 to choose from the data"
            )
        if self.workers < 0:
            raise ArgumentError("workers", self.workers, "give a number of threads, or 0 for one a core")


def preprocess(config: PreprocessConfig, dataset: Path, out: Path) -> TokenizedRecord:
    """Tokenizes a data set folder.

    Args:
        config: How to.
        dataset: A data set folder.
        out: The folder to make: a `datasets.save_to_disk` folder for each split with the model's
            inputs, `labels` and `length`; `golden_inputs.json`; `hfpc.json`.

    Returns:
        The length chosen, and how much it cuts.

    Raises:
        ArgumentError: The model does not exist, or takes fewer tokens than `max_length`.
        DataError: `dataset` is not a data set folder.
        ModelError: The model has no fast tokenizer.
    """
    from hfpc.data import lengths
    from hfpc.data.tokenizing import Tokenizing, pick_golden

    data = manifest.read(dataset, "dataset")
    assert data.dataset is not None
    base = base_model.find(
        config.base_model, config.revision, trust_remote_code=config.trust_remote_code, weights=False
    )
    _use_threads(config.workers)
    tokenizer = base.tokenizer()
    limit = lengths.limit(base.folder, tokenizer)
    if limit and config.max_length > limit:
        raise ArgumentError("max_length", config.max_length, f"{config.base_model} takes at most {limit} tokens")
    task = tasks.get(data.task)
    with tempfile.TemporaryDirectory(prefix="hfpc-tokens-") as name:
        splits = {
            split: Tokenizing(task, tokenizer, data.dataset.label_names, dataset / split, Path(name) / split)
            for split in data.dataset.rows
        }
        _tokenize_all(splits, data.dataset.rows)
        max_length = config.max_length or lengths.choose(splits["train"].lengths, limit)
        with storage.publishing(out) as made:
            for split, tokenizing in splits.items():
                tokenizing.save(made / split, max_length)
            golden_split = splits.get("validation", splits["train"])
            golden.write_inputs(made, [task.request(row) for row in pick_golden(golden_split)])
            record = TokenizedRecord(
                base_model=config.base_model,
                revision=base.revision,
                trust_remote_code=config.trust_remote_code,
                max_length=max_length,
                lengths=lengths.quantiles(splits["train"].lengths),
                truncated_share=_share_over(max_length, [tokenizing.lengths for tokenizing in splits.values()]),
            )
            Manifest(kind="tokenized", task=data.task, dataset=data.dataset, tokenized=record).write(made)
    return record


def _use_threads(workers: int) -> None:
    """Sets how many threads the tokenizer takes; it looks when it first runs in this process."""
    if workers:
        os.environ["RAYON_NUM_THREADS"] = str(workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if workers == 1 else "true"


def _tokenize_all(splits: dict[str, "Tokenizing"], rows: dict[str, int]) -> None:
    progress, done = Reporter("tokenizing rows", sum(rows.values())), 0
    for tokenizing in splits.values():
        for count in tokenizing.run():
            done += count
            progress.update(done)


def _share_over(max_length: int, lengths: list["np.ndarray"]) -> float:
    longer = sum(int((counts > max_length).sum()) for counts in lengths)
    return longer / sum(len(counts) for counts in lengths)
