"""What probabilities tell beyond the predicted label: the ROC curve and the calibration."""

import numpy as np

from hfpc.evaluation.evaluation import CalibrationBin, RocCurve
from hfpc.tasks import Units

_POINTS = 200
_BINS = 10


def roc(units: Units, label_names: list[str]) -> RocCurve | None:
    """The ROC of the second of two labels, or the micro average over more.

    None where it does not exist: all units have the same label.
    """
    truth = units.truth[:, None] == np.arange(len(label_names))
    if len(label_names) < 2 or truth.any(axis=0).sum() < 2:
        return None
    if len(label_names) == 2:
        return _curve(label_names[1], truth[:, 1], units.probabilities[:, 1])
    return _curve("", truth.ravel(), units.probabilities.ravel())


def calibration(units: Units) -> tuple[list[CalibrationBin], float]:
    """Bins of confidence, and the expected calibration error (0 to 1) over them."""
    confidence = units.probabilities.max(axis=1).astype(float)
    right = units.probabilities.argmax(axis=1) == units.truth
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins = []
    for index in np.unique(place):
        inside = place == index
        bins.append(
            CalibrationBin(
                low=float(index) / _BINS,
                high=float(index + 1) / _BINS,
                confidence=float(confidence[inside].mean()),
                accuracy=float(right[inside].mean()),
                units=int(inside.sum()),
            )
        )
    gaps = sum(one.units * abs(one.accuracy - one.confidence) for one in bins)
    return bins, gaps / len(confidence) if len(confidence) else 0.0


def _curve(label: str, positive: np.ndarray, scores: np.ndarray) -> RocCurve:
    """The curve with a point for each distinct score, thinned for drawing."""
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order].astype(float), positive[order]
    last = np.append(np.diff(scores) != 0, True)  # The last unit with each score.
    tpr = np.append(0.0, np.cumsum(positive)[last] / positive.sum())
    fpr = np.append(0.0, np.cumsum(~positive)[last] / (~positive).sum())
    # Nothing scores above the first threshold. Others write infinity there, which JSON does not have.
    thresholds = np.append(np.nextafter(scores[0], np.inf), scores[last])
    kept = _spread(fpr + tpr)
    return RocCurve(
        label=label,
        fpr=fpr[kept].tolist(),
        tpr=tpr[kept].tolist(),
        thresholds=thresholds[kept].tolist(),
        auc=float(np.trapezoid(tpr, fpr)),
    )


def _spread(lengths: np.ndarray) -> np.ndarray:
    """At most 200 indices, spread evenly over the curve's length so far, both ends among them."""
    if len(lengths) <= _POINTS:
        return np.arange(len(lengths))
    wanted = np.linspace(lengths[0], lengths[-1], _POINTS)
    return np.unique(np.append(np.searchsorted(lengths, wanted[:-1]), len(lengths) - 1))
