"""`hfpc.json`, the record that travels with a data set or a model.

Every artifact folder this library writes holds one, written last: a folder without it is
unfinished. Nothing else is passed between components on the side.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hfpc.errors import DataError

FILE_NAME = "hfpc.json"
_PACKAGE = "hf-pipeline-components"

Kind = Literal["dataset", "tokenized", "model", "predictions"]


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """Where the rows came from and what was done to them.

    Attributes:
        source: URI, Hub id or `sample:` name that was read.
        revision: Commit SHA (Hub), or "" where the store has none.
        licence: Licence the source states, or "unknown".
        columns: Role to the name of the source's column, e.g. `{"text": "tweet", "label": "class"}`.
        label_names: Class names; a label's id is its place in this list. Empty where a task has none.
        rows: Rows per split, e.g. `{"train": 800, "validation": 100, "test": 100}`.
        label_counts: Rows (or labelled units) per split and label name.
        repairs: What was repaired or removed, with counts, e.g. `{"duplicate rows removed": 12}`.
        fingerprint: SHA-256 of the rows as written, independent of the file layout.
    """

    source: str
    revision: str
    licence: str
    columns: dict[str, str]
    label_names: list[str]
    rows: dict[str, int]
    label_counts: dict[str, dict[str, int]]
    repairs: dict[str, int]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class TokenizedRecord:
    """How rows became token ids.

    Attributes:
        base_model: Hub id, folder or `sample:` name of the model whose tokenizer was used.
        revision: Commit SHA of `base_model` on the Hub, or "" for a folder or a sample.
        trust_remote_code: Whether the user asked for the model's own Python code to be run.
        max_length: Tokens a row is cut to.
        lengths: Token-count quantiles of the training rows before cutting: `p50`, `p95`, `p99`, `max`.
        truncated_share: Share of all rows, 0 to 1, that `max_length` cuts.
    """

    base_model: str
    revision: str
    trust_remote_code: bool
    max_length: int
    lengths: dict[str, int]
    truncated_share: float


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What a model was made from and how good it is.

    Attributes:
        base_model: Hub id, folder or `sample:` name that was fine-tuned.
        revision: Commit SHA of `base_model` on the Hub, or "".
        max_length: Tokens a request is cut to.
        parameters: Arguments of the fine-tuning, as given.
        metrics: Metric name to value, prefixed by the split: `{"validation/accuracy": 0.9}`.
        fingerprint: SHA-256 of weights, configuration and tokenizer files.
        trust_remote_code: Whether loading needs the model's own Python code.
    """

    base_model: str
    revision: str
    max_length: int
    parameters: dict[str, Any]
    metrics: dict[str, float]
    fingerprint: str
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class OptimizationRecord:
    """How a model was made faster.

    Attributes:
        kept: Name of the candidate that was kept, e.g. "onnxruntime-int8-dynamic".
        backend: What computes it: "pytorch", "onnxruntime" or "openvino".
        precision: "fp32", "bf16" or "int8".
        file: Path of the exported model inside the folder, "" for PyTorch.
        candidates: Each candidate's `name`, its `figures` (null where it could not be made or run),
            and the `reason` why it was kept or not, in the order in which they were tried.
        machine: What they were measured on: `processor`, `cores`, `instructions` and `versions`.
    """

    kept: str
    backend: str
    precision: str
    file: str
    candidates: list[dict[str, Any]]
    machine: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PredictionsRecord:
    """What was predicted by which model.

    Attributes:
        model: Fingerprint of the model.
        split: Split of the data set, or "" for a batch prediction.
        rows: Rows predicted.
        metrics: Metric name to value, unprefixed; empty for a batch prediction.
    """

    model: str
    split: str
    rows: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `hfpc.json`.

    Attributes:
        kind: What the folder holds.
        task: Task name, e.g. "text-classification".
        dataset: Present wherever labelled data was involved.
        tokenized: Present from `preprocess` on.
        model: Present for a model.
        optimization: Present for a model that went through `optimize`.
        predictions: Present for predictions.
        versions: Package name to version, of the packages that made the folder.
    """

    kind: Kind
    task: str
    dataset: DatasetRecord | None = None
    tokenized: TokenizedRecord | None = None
    model: ModelRecord | None = None
    optimization: OptimizationRecord | None = None
    predictions: PredictionsRecord | None = None
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    def write(self, folder: Path) -> None:
        """Writes `hfpc.json` into `folder`; call it last."""
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, sort_keys=True)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


_RECORDS: dict[str, Any] = {
    "dataset": DatasetRecord,
    "tokenized": TokenizedRecord,
    "model": ModelRecord,
    "optimization": OptimizationRecord,
    "predictions": PredictionsRecord,
}
_KINDS = get_args(Kind)


def read(folder: Path, kind: Kind | None = None) -> Manifest:
    """Reads the `hfpc.json` of `folder`.

    Args:
        folder: An artifact folder.
        kind: What the folder must hold; None accepts any.

    Raises:
        DataError: There is no `hfpc.json`, it cannot be read, or it is of another kind.
    """
    file = folder / FILE_NAME
    content = None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("kind") not in _KINDS or not content.get(content["kind"]):
            raise ValueError("it does not hold the record of its kind")
        for name, record in _RECORDS.items():
            if content.get(name) is not None:
                content[name] = record(**content[name])
        manifest = Manifest(**content)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder} has no {FILE_NAME}: it was not written by hfpc, or its writing was cut short"
        ) from None
    except (TypeError, ValueError) as error:
        if newer := _newer_version(content):
            raise DataError(
                f"{file} was written by hf-pipeline-components {newer}, newer than the one here: install that version"
            ) from error
        raise DataError(f"{file} cannot be read ({error}): make the artifact again") from error
    if kind is not None and manifest.kind != kind:
        raise DataError(f"{folder} holds a {manifest.kind}, but a {kind} is needed here")
    return manifest


def _newer_version(content: Any) -> str:
    """The version of this library that wrote a manifest, if it is newer than this one; "" otherwise."""
    from packaging.version import InvalidVersion, Version

    try:
        written, own = content["versions"][_PACKAGE], installed_versions()[_PACKAGE]
        return str(written) if Version(written) > Version(own) else ""
    except (KeyError, TypeError, InvalidVersion):
        return ""


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide what an artifact looks like, without importing them."""
    from importlib import metadata

    versions = {}
    for name in (_PACKAGE, "transformers", "torch", "tokenizers", "datasets"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
