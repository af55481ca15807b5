"""What `evaluate` measured, in the form that the Vertex AI console draws beside a model's version."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import manifest
from hfpc.errors import ArgumentError
from hfpc.sinks.vertex_calls import Place

_SCHEMAS = "gs://google-cloud-aiplatform/schema/modelevaluation"


@dataclass(frozen=True)
class _Form:
    """How a task's metrics are told in a schema of Vertex AI.

    Attributes:
        schema: Name of the schema.
        metrics: Field of `confidenceMetrics` to the metric of ours that it means.
        fixed: Fields that say what ours are measured on.
    """

    schema: str
    metrics: dict[str, str]
    fixed: dict[str, float]


# `confidenceMetrics` lists thresholds. Ours is the one at which the best label is always taken, sure or not.
_FORM_OF_TASK = {
    # Micro averages, but for `f1ScoreMacro`; where each row has one label and is given one, they are the accuracy.
    "text-classification": _Form(
        "classification_metrics_1.0.0.yaml",
        {
            "precision": "accuracy",
            "recall": "accuracy",
            "f1Score": "accuracy",
            "f1ScoreMicro": "accuracy",
            "f1ScoreMacro": "macro_f1",
        },
        {"confidenceThreshold": 0.0, "maxPredictions": 1},
    ),
    "token-classification": _Form(
        "text_extraction_metrics_1.0.0.yaml",
        {"precision": "entity_precision", "recall": "entity_recall", "f1Score": "entity_f1"},
        {"confidenceThreshold": 0.0},
    ),
}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: its name beside the version, the schema of its metrics, and the metrics in that schema."""

    name: str
    schema: str
    metrics: dict[str, Any]


def read(predictions: Path, fingerprint: str) -> Evaluation | None:
    """The evaluation in a predictions folder; None where Vertex AI has no schema for its metrics.

    Raises:
        ArgumentError: The predictions are another model's.
        DataError: The folder holds no predictions.
    """
    content = manifest.read(predictions, "predictions")
    record = content.predictions
    assert record is not None
    if record.model != fingerprint:
        raise ArgumentError("predictions", str(predictions), "they are of another model: evaluate this one")
    form = _FORM_OF_TASK.get(content.task)
    if form is None:
        return None
    measured = {field: record.metrics[name] for field, name in form.metrics.items() if name in record.metrics}
    if not measured:
        return None
    metrics = {"confidenceMetrics": [{**form.fixed, **measured}]}
    return Evaluation(f"{record.split} split", f"{_SCHEMAS}/{form.schema}", metrics)


def ensure(place: Place, version: str, evaluation: Evaluation) -> None:
    """Imports an evaluation, unless the version has one of that name."""

    def find() -> Any:
        listed = place.ask(place.models.list_model_evaluations, {"parent": version})
        return next((each for each in listed if each.display_name == evaluation.name), None)

    def make() -> None:
        content = {
            "display_name": evaluation.name,
            "metrics_schema_uri": evaluation.schema,
            "metrics": evaluation.metrics,
        }
        request = {"parent": version, "model_evaluation": content}
        place.models.import_model_evaluation(request=request, retry=None, timeout=place.patience.call)

    place.ensure(find, make)
