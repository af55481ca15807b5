"""The fields of evaluations, as the schemas on `gs://google-cloud-aiplatform/schema/modelevaluation` have them."""

from typing import Any

from tests.cloud.vertex_wire import VertexError

_PREFIX = "gs://google-cloud-aiplatform/schema/modelevaluation/"
_VALUE: dict[str, Any] = {}
_MATRIX = {"annotationSpecs": {"id": _VALUE, "displayName": _VALUE}, "rows": _VALUE}
_CLASSIFICATION = (
    "confidenceThreshold maxPredictions recall precision falsePositiveRate f1Score f1ScoreMicro f1ScoreMacro recallAt1 "
    "precisionAt1 falsePositiveRateAt1 f1ScoreAt1 truePositiveCount falsePositiveCount falseNegativeCount "
    "trueNegativeCount"
)
_EXTRACTION = "confidenceThreshold recall precision f1Score"
SCHEMAS: dict[str, dict[str, Any]] = {
    "classification_metrics_1.0.0.yaml": {
        "auPrc": _VALUE,
        "auRoc": _VALUE,
        "logLoss": _VALUE,
        "confidenceMetrics": {"confusionMatrix": _MATRIX, **dict.fromkeys(_CLASSIFICATION.split(), _VALUE)},
        "confusionMatrix": _MATRIX,
    },
    "text_extraction_metrics_1.0.0.yaml": {
        "confidenceMetrics": dict.fromkeys(_EXTRACTION.split(), _VALUE),
        "confusionMatrix": _MATRIX,
    },
}


def check_metrics(schema_uri: str, metrics: Any) -> None:
    """Refuses a schema that is not known, and fields that it does not have.

    Raises:
        VertexError: Something is refused.
    """
    fields = SCHEMAS.get(schema_uri.removeprefix(_PREFIX)) if schema_uri.startswith(_PREFIX) else None
    if fields is None:
        raise VertexError("INVALID_ARGUMENT", f"Unknown metrics schema {schema_uri}")
    _check(metrics, fields, "metrics")


def _check(value: Any, fields: dict[str, Any], where: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check(item, fields, where)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in fields:
                raise VertexError("INVALID_ARGUMENT", f"{where} has no field {name} in its schema.")
            _check(item, fields[name], f"{where}.{name}")
    elif fields:
        raise VertexError("INVALID_ARGUMENT", f"{where} must be an object.")
