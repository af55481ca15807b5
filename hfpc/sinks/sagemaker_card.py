"""What SageMaker's model registry shows of a model: its metrics, its card and a few facts to search by."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from hfpc import storage
from hfpc.manifest import Manifest

_LONGEST_TEXT = 1024
_LONGEST_FACT = 256
_MOST_METRICS = 200  # a card may have 100,000 characters
_NOT_IN_FACTS = re.compile(r"[^\w .:/=+@-]+")


def statistics(metrics: Mapping[str, float]) -> bytes:
    """The metrics as the JSON document that a package's model quality names.

    Args:
        metrics: Name to value, e.g. `{"test/accuracy": 0.9}`.
    """
    content = {name: {"value": value, "standard_deviation": "NaN"} for name, value in sorted(metrics.items())}
    return json.dumps({"multiclass_classification_metrics": content}, indent=2).encode()


def card(found: Manifest, metrics: Mapping[str, float], model_data: str) -> str:
    """The content of the package's model card, in SageMaker's JSON schema.

    Args:
        found: The model's manifest.
        metrics: Name to value, prefixed by the split.
        model_data: Where the model lies on S3.
    """
    assert found.model is not None
    data = found.dataset
    splits = sorted({name.partition("/")[0] for name in metrics})
    content: dict[str, Any] = {
        "model_overview": {"model_creator": "hf-pipeline-components", "model_artifact": [model_data]},
        "intended_uses": {"intended_uses": f"The task {found.task}."},
        "training_details": {"training_observations": _training(found)},
        "evaluation_details": [_evaluation(split, metrics, data.fingerprint if data else "") for split in splits],
        "additional_information": {"custom_details": {k: v[:_LONGEST_TEXT] for k, v in _details(found).items()}},
    }
    return json.dumps({key: value for key, value in content.items() if value}, ensure_ascii=True)


def facts(found: Manifest, key: str) -> dict[str, str]:
    """The package's customer metadata.

    Args:
        found: The model's manifest.
        key: What tells this package from others of its group.
    """
    assert found.model is not None
    values = {
        "hfpc-key": key,
        "hfpc-fingerprint": found.model.fingerprint,
        "hfpc-task": found.task,
        "hfpc-base-model": public_name(found.model.base_model),
        "hfpc-version": found.versions.get("hf-pipeline-components", ""),
    }
    shown = {name: _NOT_IN_FACTS.sub("-", value)[:_LONGEST_FACT] for name, value in values.items()}
    return {name: value for name, value in shown.items() if value}


def public_name(base_model: str) -> str:
    """A base model without the place on somebody's machine or in somebody's bucket that it came from."""
    private = storage.is_uri(base_model) or base_model.startswith(("/", ".", "file://"))
    return PurePosixPath(base_model).name if private else base_model


def _training(found: Manifest) -> str:
    assert found.model is not None
    text = f"Fine-tuned from {public_name(found.model.base_model)}"
    if found.dataset is not None:
        text += f" on {found.dataset.rows.get('train', 0)} rows, licence {found.dataset.licence}"
    return f"{text}."[:_LONGEST_TEXT]


def _evaluation(split: str, metrics: Mapping[str, float], data: str) -> dict[str, Any]:
    values = [
        {"name": name.partition("/")[2], "type": "number", "value": value}
        for name, value in sorted(metrics.items())
        if name.partition("/")[0] == split
    ][:_MOST_METRICS]
    observation = f"Measured on the {split} split" + (f" of the data with fingerprint {data}" if data else "")
    return {
        "name": split,
        "evaluation_observation": f"{observation}.",
        "metric_groups": [{"name": split, "metric_data": values}],
    }


def _details(found: Manifest) -> dict[str, str]:
    assert found.model is not None
    details = {"fingerprint": found.model.fingerprint, "max_length": str(found.model.max_length)}
    if found.dataset is not None and found.dataset.label_names:
        details["labels"] = ", ".join(found.dataset.label_names)
    if found.optimization is not None:
        details["optimized"] = f"{found.optimization.kept} ({found.optimization.precision})"
    return details | {name: version for name, version in found.versions.items() if version}
