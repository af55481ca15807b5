"""The model card: `README.md` of a model folder, as the Hub reads it."""

import math
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from hfpc import samples
from hfpc.manifest import DatasetRecord, Manifest, ModelRecord
from hfpc.reports.metric_text import SPEED, is_bound, metric_name, metric_value
from hfpc.reports.page import clipped, number

_HUB_METRICS = {
    "accuracy": "accuracy",
    "entity_f1": "f1",
    "entity_precision": "precision",
    "entity_recall": "recall",
    "f1": "f1",
    "macro_f1": "f1",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "mcc": "matthews_correlation",
    "precision": "precision",
    "recall": "recall",
}
"""Our metrics that the Hub knows, and its names for them."""

_MOST_LABELS = 50
_SPLITS = ("train", "validation", "test")
_PRIVATE_PARAMETERS = ("checkpoint_uri",)
"""Parameters that say where something lay and nothing about the model."""


def model_card(manifest: Manifest) -> str:
    """The model card of a fine-tuned model: the Hub's metadata, then Markdown for people.

    No path of the machine that made the model appears in it: a base model or a data set from a
    folder is called by the folder's name only, and is not given to the Hub as an id.

    Args:
        manifest: The model's manifest, with its `model` and `dataset` records.

    Returns:
        Markdown with YAML front matter that `huggingface_hub.ModelCard` loads.
    """
    model, dataset = manifest.model, manifest.dataset
    assert model is not None and dataset is not None, "a model card needs a model's manifest"
    sections = [
        _front_matter(manifest, model, dataset),
        _introduction(manifest, model, dataset),
        _usage(manifest.task),
        _data(dataset),
        _training(manifest, model),
        _results(model, dataset),
        _optimization(manifest),
        _limits(manifest, model, dataset),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: Manifest, model: ModelRecord, dataset: DatasetRecord) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data_name = _short(dataset.source)
    results = [
        EvalResult(
            task_type=manifest.task,
            dataset_type=dataset.source if dataset.revision else data_name,
            dataset_name=data_name,
            dataset_split=split,
            dataset_revision=dataset.revision or None,
            metric_type=_HUB_METRICS[name],
            metric_name=metric_name(name),
            metric_value=round(value, 4),
        )
        for split in reversed(_SPLITS)
        for name, value in _hub_metrics(_metrics(model, split)).items()
    ]
    data = ModelCardData(
        license=_licence(model),
        base_model=_hub_id(model),
        datasets=[dataset.source] if dataset.revision else None,
        library_name="transformers",
        pipeline_tag=manifest.task,
        tags=["hf-pipeline-components"],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=_title(model, dataset),
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _hub_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that the Hub knows; the F1 of a model of entities is that of entities, not of words."""
    entities = any(name.startswith("entity_") for name in metrics)
    return {
        name: value
        for name, value in metrics.items()
        if name in _HUB_METRICS and math.isfinite(value) and not (entities and name.startswith("macro_"))
    }


def _introduction(manifest: Manifest, model: ModelRecord, dataset: DatasetRecord) -> str:
    task = manifest.task.replace("-", " ")
    text = [
        f"# {_plain(_title(model, dataset))}",
        f"A {task} model: {_base_model(model)}, fine-tuned on {_source(dataset)}.",
    ]
    if dataset.label_names:
        text.append(f"It answers with one of {len(dataset.label_names)} labels: {_listed(dataset.label_names)}.")
    return "\n\n".join(text)


def _usage(task: str) -> str:
    # The pipeline for tokens always cuts, and does not take the argument.
    cut = ", truncation=True" if task == "text-classification" else ""
    return f"""## How to use

```python
from transformers import pipeline

predict = pipeline("{task}", model="path/to/this/folder"{cut})
print(predict("The text to look at."))
```

Served over HTTP, with the same answers:

```bash
hfpc serve path/to/this/folder --port 8080
curl http://127.0.0.1:8080/ -H "Content-Type: application/json" -d '{{"inputs": "The text to look at."}}'
```"""


def _data(dataset: DatasetRecord) -> str:
    facts = [
        ("Source", _source(dataset)),
        ("Licence", _plain(dataset.licence)),
        ("Columns", ", ".join(f"{_plain(role)}: `{column}`" for role, column in dataset.columns.items())),
        ("Rows", ", ".join(f"{split} {number(rows)}" for split, rows in _in_order(dataset.rows).items())),
        ("Fingerprint", f"`{dataset.fingerprint}`"),
    ]
    text = ["## Training data", _table(("Property", "Value"), facts)]
    if dataset.label_counts:
        splits = list(_in_order(dataset.label_counts))
        counts = [
            (_plain(label), *(number(dataset.label_counts[split].get(label, 0)) for split in splits))
            for label in dataset.label_names[:_MOST_LABELS]
        ]
        text.append(_table(("Label", *(split.capitalize() for split in splits)), counts))
        if len(dataset.label_names) > _MOST_LABELS:
            text.append(f"The first {_MOST_LABELS} of {len(dataset.label_names)} labels are shown.")
    if dataset.repairs:
        text.append("Repaired or removed before the split:")
        text.append("\n".join(f"- {_plain(what)}: {number(count)}" for what, count in dataset.repairs.items()))
    return "\n\n".join(text)


def _training(manifest: Manifest, model: ModelRecord) -> str:
    parameters = [
        (f"`{name}`", f"`{_one_line(value)}`")
        for name, value in model.parameters.items()
        if name not in _PRIVATE_PARAMETERS and value not in ({}, "")
    ]
    versions = [(_plain(name), version) for name, version in manifest.versions.items()]
    text = ["## Training procedure", f"Texts are cut to {number(model.max_length)} tokens."]
    if parameters:
        text.append(_table(("Parameter", "Value"), parameters))
    if versions:
        text.append(_table(("Package", "Version"), versions))
    return "\n\n".join(text)


def _results(model: ModelRecord, dataset: DatasetRecord) -> str:
    splits = {split: _metrics(model, split) for split in _SPLITS if _metrics(model, split)}
    if not splits:
        return "## Results\n\nNothing has been measured yet."
    names = dict.fromkeys(name for metrics in splits.values() for name in metrics)
    rows = [
        (metric_name(name), *(_measured(name, metrics) for metrics in splits.values()))
        for name in names
        if not any(is_bound(name, metrics) for metrics in splits.values())
    ]
    text = ["## Results", _table(("Metric", *(split.capitalize() for split in splits)), rows)]
    if any(f"{name}_low" in metrics for metrics in splits.values() for name in metrics):
        text.append("In brackets: 95 % bootstrap intervals.")
    if any(name in SPEED for name in names):
        text.append("Speed was measured on the machine that evaluated the model.")
    return "\n\n".join(text)


def _optimization(manifest: Manifest) -> str:
    """What computes the model and how much faster that is; "" for a model that was not optimized."""
    record = manifest.optimization
    if record is None:
        return ""
    rows = [
        (
            f"`{row['name']}`",
            f"{figures['speedup']:.2f}",
            metric_value("rows_per_second", figures["rows_per_second"]),
            metric_value("latency_ms_p50", figures["latency_ms_p50"]),
            f"{100 * figures['agreement']:.2f} %",
        )
        for row in record.candidates
        if (figures := row["figures"])
    ]
    machine = record.machine
    text = [
        "## Optimization",
        f"Served by hfpc, it runs as `{record.kept}`. `transformers` loads the full weights beside that.",
        _table(("Candidate", "Speed", "Rows per second", "Latency, median", "Same labels"), rows),
        f"Measured on the validation split with {machine['cores']} cores of: {_plain(machine['processor'])}.",
    ]
    return "\n\n".join(text)


def _limits(manifest: Manifest, model: ModelRecord, dataset: DatasetRecord) -> str:
    limits = []
    if dataset.label_names:
        limits.append(
            f"It knows {len(dataset.label_names)} labels only and always chooses among them, "
            "for input that fits none of them too."
        )
    cut = f"Input beyond {number(model.max_length)} tokens is not read."
    if manifest.tokenized is not None:
        cut += f" That cut {100 * manifest.tokenized.truncated_share:.1f} % of the rows it was made from."
    limits.append(cut)
    counts = dataset.label_counts.get("train", {})
    if len(counts) > 1 and min(counts.values()) * 3 <= max(counts.values()):
        rarest = min(counts, key=lambda label: counts[label])
        share = 100 * counts[rarest] / sum(counts.values())
        limits.append(f"Labels are unbalanced: {_plain(rarest)} is {share:.1f} % of the training labels.")
    if not _metrics(model, "test"):
        limits.append("It has not been measured on test rows; validation results were used to choose it.")
    limits.append(
        "It was measured on rows like those it was trained on. Other subjects, periods or languages may do worse: "
        "measure it on your own data before you rely on it."
    )
    if dataset.licence == "unknown":
        limits.append("The licence of the training data is unknown.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _in_order(splits: dict[str, Any]) -> dict[str, Any]:
    """Train, validation, test, then others; the manifest's file sorts them by name."""
    return {split: splits[split] for split in [*_SPLITS, *splits] if split in splits}


def _metrics(model: ModelRecord, split: str) -> dict[str, float]:
    """Metrics of one split, without its prefix."""
    prefix = f"{split}/"
    return {name.removeprefix(prefix): value for name, value in model.metrics.items() if name.startswith(prefix)}


def _measured(name: str, metrics: dict[str, float]) -> str:
    """A value with its interval, "" where it was not measured."""
    if name not in metrics:
        return ""
    value = metric_value(name, metrics[name])
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return value if low is None or high is None else f"{value} ({low:.3f} to {high:.3f})"


def _hub_id(model: ModelRecord) -> str | None:
    """The base model's id on the Hub; only Hub models have a revision, samples name their origin."""
    if model.base_model.startswith(samples.PREFIX):
        return samples.model(model.base_model).hub_id or None
    return model.base_model if model.revision else None


def _licence(model: ModelRecord) -> str | None:
    """The base model's licence where it is known, as the Hub spells it."""
    if model.base_model.startswith(samples.PREFIX):
        return samples.model(model.base_model).licence.lower()
    return None


def _title(model: ModelRecord, dataset: DatasetRecord) -> str:
    return f"{_short(_hub_id(model) or model.base_model)}-{_short(dataset.source)}"


def _short(location: str) -> str:
    """The last part of an id, a path or a URI, without endings: `gs://b/x/tweets.csv.gz` is `tweets`."""
    path = urlsplit(location).path if "://" in location else location.removeprefix(samples.PREFIX)
    name = PurePosixPath(path.replace("\\", "/").rstrip("/*")).name
    return re.sub(r"(\.(csv|tsv|jsonl?|parquet|gz|zst|bz2|xz|zip))+$", "", name) or "model"


def _base_model(model: ModelRecord) -> str:
    hub_id = _hub_id(model)
    return _described(model.base_model, model.revision, hub_id and f"https://huggingface.co/{hub_id}", hub_id)


def _source(dataset: DatasetRecord) -> str:
    address = f"https://huggingface.co/datasets/{dataset.source}" if dataset.revision else None
    return _described(dataset.source, dataset.revision, address, dataset.source)


def _described(location: str, revision: str, address: str | None, hub_id: str | None) -> str:
    """Where a model or a data set came from, without any path of this machine."""
    if address and hub_id:
        return f"[{_plain(hub_id)}]({address})" + (f" at commit `{revision}`" if revision else "")
    if location.startswith(samples.PREFIX):
        return f"`{location}`"
    if "://" in location and not location.startswith("file://"):
        uri = urlsplit(location)  # without user, password and query, which may hold secrets
        return f"`{uri.scheme}://{uri.hostname or ''}{uri.path}`"
    return f"`{_short(location)}` (from a folder or a file)"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(labels: list[str]) -> str:
    shown = ", ".join(_plain(label) for label in labels[:_MOST_LABELS])
    rest = len(labels) - _MOST_LABELS
    return f"{shown} and {rest} more" if rest > 0 else shown


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", clipped(" ".join(text.split()), 80))


def _one_line(value: object) -> str:
    """A value for a code span in a table."""
    return clipped(" ".join(str(value).split()), 200).replace("`", "'").replace("|", "\\|")
