"""What the tests of all sinks need."""

from pathlib import Path

import pytest

from hfpc import registry as local_registry
from hfpc.manifest import Manifest, PredictionsRecord


def save_predictions(folder: Path, fingerprint: str, task: str = "text-classification", **metrics: float) -> Path:
    """A predictions folder of a model on the test split, as far as a sink reads it."""
    folder.mkdir(parents=True)
    record = PredictionsRecord(model=fingerprint, split="test", rows=100, metrics=metrics)
    Manifest(kind="predictions", task=task, predictions=record).write(folder)
    return folder


@pytest.fixture(scope="session")
def predictions(tmp_path_factory, model) -> Path:
    """The predictions of `model`."""
    folder = tmp_path_factory.mktemp("predictions") / "predictions"
    return save_predictions(folder, local_registry.fingerprint(model), accuracy=0.9, macro_f1=0.88, macro_recall=0.87)
