"""What the tests of pipelines for SageMaker share."""

import csv

import pytest

from hfpc import __version__
from tests.conftest import make_texts

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/hfpc"


@pytest.fixture
def sagemaker_parameters(tmp_path, base_model):
    """Those of a small run that ends with a good model, served by our image."""
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(make_texts(600))
    return {
        "role": "arn:aws:iam::123456789012:role/serving",
        "staging_uri": "s3://models/staged",
        "name": "tiny",
        "source": str(tmp_path / "rows.csv"),
        "base_model": str(base_model),
        "epochs": 8,
        "learning_rate": 5e-3,
        "min_metrics": '{"accuracy": 0.7}',
        "image": "hfpc",
        "max_latency_ms": 60_000,
    }


@pytest.fixture
def our_image(monkeypatch):
    """The URI of our serving image in the registry of an account, as the steps of a run are told."""
    monkeypatch.setenv("HFPC_IMAGE_REPOSITORY", REPOSITORY)
    return f"{REPOSITORY}/hfpc-serving-cpu:{__version__}"
