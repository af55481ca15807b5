"""What `evaluate` measured, in the form that the Vertex AI console draws beside a model's version."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import manifest
from hfpc.errors import ArgumentError
from hfpc.sinks.vertex_calls import Place

_SCHEMAS = "gs://google-cloud-aiplatform/schema/modelevaluation"
_SCHEMA_OF_TASK = {
    "text-classification": f"{_SCHEMAS}/classification_metrics_1.0.0.yaml",
    "token-classification": f"{_SCHEMAS}/text_extraction_metrics_1.0.0.yaml",
}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: its name beside the version, the schema of its metrics, and the metrics in that schema."""

    name: str
    schema: str
    metrics: dict[str, Any]


def read(predictions: Path, fingerprint: str) -> Evaluation | None:
    """The evaluation in a predictions folder; None for a task that Vertex AI knows no schema for.

    Raises:
        ArgumentError: The predictions are another model's.
        DataError: The folder holds no predictions.
    """
    content = manifest.read(predictions, "predictions")
    record = content.predictions
    assert record is not None
    if record.model != fingerprint:
        raise ArgumentError("predictions", str(predictions), "they are of another model: evaluate this one")
    schema = _SCHEMA_OF_TASK.get(content.task, "")
    if not schema or not record.metrics:
        return None
    return Evaluation(f"{record.split} split", schema, _metrics(record.metrics))


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


def _metrics(measured: dict[str, float]) -> dict[str, Any]:
    """Precision, recall and F1 stand in a list of thresholds; ours is the one at which the best label is taken."""
    at_best: dict[str, float] = {"confidenceThreshold": 0.0}
    for name, value in measured.items():
        field = {"precision": "precision", "recall": "recall", "f1": "f1Score"}.get(name.removeprefix("macro_"))
        if field:
            at_best[field] = value
    if "accuracy" in measured:
        at_best["f1ScoreMicro"] = measured["accuracy"]  # the same, where each row has one label
    return {"confidenceMetrics": [at_best]}
