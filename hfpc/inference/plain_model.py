"""Model folders without `hfpc.json`, as Transformers saves them and the Hub has them.

What this library records of the models that it makes is read from their own files, as far as it is there.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from hfpc import golden, manifest, storage
from hfpc.errors import ModelError
from hfpc.manifest import DatasetRecord, Manifest, ModelRecord

TEXT_GENERATION = "text-generation"
"""The task whose answers are generated token by token, and not predicted at once."""

TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForCausalLM": TEXT_GENERATION,
    "LMHeadModel": TEXT_GENERATION,
}
"""Ends of architectures to the tasks that they are served for."""

_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_LONGEST = 100_000
"""Lengths above are no lengths: tokenizers write 1e30 where they know none."""

_DEFAULT_LENGTH = 512
_OFFSET_POSITIONS = ("camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
"""Kinds of models whose first positions stand for padding."""


def manifest_of(folder: Path) -> Manifest:
    """The record of a model folder: its `hfpc.json`, or what a plain one tells itself.

    Raises:
        DataError: It has an `hfpc.json` that cannot be read, or neither that nor a `config.json`.
        ModelError: It is a plain model that is for no task of this library.
    """
    if (folder / manifest.FILE_NAME).exists() or not (folder / "config.json").is_file():
        return manifest.read(folder, "model")
    return _manifest(folder, _state(folder))


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and dates of the files that make the model what it is."""
    files = {file for pattern in _FILES for file in folder.glob(pattern)}
    kept = sorted(file for file in files if file.name != golden.FILE_NAME and not file.name.startswith("."))
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in kept)


@lru_cache(maxsize=8)
def _manifest(folder: Path, state: tuple[tuple[str, int, int], ...]) -> Manifest:
    """Reading all weights for the fingerprint takes seconds, so it is done once as long as the files stay the same."""
    config = _read(folder / "config.json")
    task = _task(folder, config)
    record = ModelRecord(
        base_model=folder.name,
        revision="",
        max_length=_max_length(folder, config),
        parameters={},
        metrics={},
        fingerprint=storage.fingerprint([folder / name for name, _, _ in state], folder),
    )
    dataset = None if task == TEXT_GENERATION else _dataset(_label_names(folder, config))
    return Manifest(kind="model", task=task, dataset=dataset, model=record, versions={})


def _task(folder: Path, config: dict[str, Any]) -> str:
    architectures = config.get("architectures") or []
    found = [task for name in architectures for end, task in TASKS.items() if str(name).endswith(end)]
    if not found:
        named = ", ".join(map(str, architectures)) or "no architecture"
        raise ModelError(f"{folder} is for {named}: give a model whose architecture ends with {', '.join(TASKS)}")
    kind = config.get("problem_type")
    if found[0] == "text-classification" and kind not in (None, "single_label_classification"):
        raise ModelError(f"{folder} is for {kind}: give a model that gives each text one label")
    return found[0]


def _label_names(folder: Path, config: dict[str, Any]) -> list[str]:
    """Names by id, as `config.json` has them; Transformers leaves out the two that it takes without any."""
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(names, dict) or sorted(names, key=str) != sorted(map(str, range(len(names)))):
        raise ModelError(f"{folder / 'config.json'} names no label for each id from 0: correct its id2label")
    if len(names) < 2:
        raise ModelError(f"{folder} has one output, so it gives a number: give a model with two labels or more")
    return [str(names[str(index)]) for index in range(len(names))]


def _max_length(folder: Path, config: dict[str, Any]) -> int:
    """Tokens that a request is cut to: the least that tokenizer or model say, 512 where neither does."""
    file = folder / "tokenizer_config.json"
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if isinstance(positions, int) and config.get("model_type") in _OFFSET_POSITIONS:
        positions -= (config.get("pad_token_id") or 1) + 1
    lengths = [positions, _read(file).get("model_max_length") if file.is_file() else None]
    usable = [int(length) for length in lengths if isinstance(length, int | float) and 0 < length <= _LONGEST]
    return min(usable, default=_DEFAULT_LENGTH)


def _dataset(label_names: list[str]) -> DatasetRecord:
    return DatasetRecord(
        source="",
        revision="",
        licence="unknown",
        columns={},
        label_names=label_names,
        rows={},
        label_counts={},
        repairs={},
        fingerprint="",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no object")
    return content
