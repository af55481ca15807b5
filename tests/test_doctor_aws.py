"""`hfpc doctor --aws` against loopback services."""

import json
import os
import subprocess
import sys

import pytest

from hfpc import aws, doctor_aws
from hfpc.sinks.sagemaker_images import ROWS

HUGGINGFACE = "huggingface-pytorch-inference"


@pytest.fixture
def listed(amazon):
    """AWS with every container of the table."""
    for row in ROWS:
        amazon.control.tags.setdefault(row.repository, []).append(row.tag)
    return amazon


def findings():
    return {finding.what: finding for finding in doctor_aws.examine()}


def test_a_machine_that_is_ready(listed):
    found = findings()
    assert found["AWS identity"].found.startswith("arn:aws:")
    assert found["AWS region"].found == "us-east-1"
    assert found["SageMaker"].level == "ok"
    assert found["huggingface container for cpu"].found == "5.5.3, the newest"
    assert found["vllm container for gpu"].found == "0.29.0, the newest"
    assert found["huggingface container for neuron"].found == "4.55.4, the newest"
    assert found["our image in ECR"].level == "note" and "HFPC_IMAGE_REPOSITORY" in found["our image in ECR"].fix


def test_a_newer_container_is_told(listed):
    listed.control.tags[HUGGINGFACE] += [
        "2.9.0-transformers5.10.1-gpu-py312-cu130-ubuntu24.04",
        "2.6.0-transformers5.6.0-cpu-py312-ubuntu22.04-v1.2",
        "latest",
    ]
    found = findings()
    assert found["huggingface container for gpu"].found == "5.5.3; AWS has 5.10.1"
    assert found["huggingface container for cpu"].found == "5.5.3; AWS has 5.6.0"
    assert found["huggingface container for gpu"].level == "note"
    assert found["vllm container for gpu"].found == "0.29.0, the newest"


def test_a_container_that_is_gone_is_a_problem(listed):
    listed.control.tags["huggingface-vllm"] = ["0.31.0-transformers5.20.0-gpu-py312-cu130-ubuntu24.04-v1.0"]
    found = findings()["vllm container for gpu"]
    assert found.level == "problem" and "is not in us-east-1" in found.found


def test_a_registry_that_may_not_be_listed_is_only_a_note(amazon):
    found = findings()["huggingface container for cpu"]
    assert found.level == "note" and "not known" in found.found and "AccessDeniedException" in found.fix


def test_an_identity_that_sagemaker_refuses(listed):
    listed.faults.plan(0, "error", method="ListModelPackageGroups")
    found = findings()["SageMaker"]
    assert found.level == "problem" and "AccessDeniedException" in found.fix and "\n" not in found.fix


@pytest.mark.parametrize("missing", ["AWS_REGION", "AWS_SECRET_ACCESS_KEY"])
def test_what_is_missing_is_one_problem(amazon, monkeypatch, missing):
    monkeypatch.delenv(missing)
    if missing == "AWS_SECRET_ACCESS_KEY":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    [found] = doctor_aws.examine()
    assert found.level == "problem" and ("region=" in found.fix or "no credentials" in found.fix)
    assert amazon.faults.calls == []


def test_our_image_is_looked_for(listed, tmp_path):
    """`HFPC_IMAGE_REPOSITORY` is read when hfpc is imported, and the command line prints what was found."""
    from hfpc import __version__

    ecr = aws.client("ecr")
    host = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    environment = {**os.environ, "HFPC_IMAGE_REPOSITORY": f"{host}/team", "HFPC_HOME": str(tmp_path), "COLUMNS": "500"}

    def printed():
        done = subprocess.run(
            [sys.executable, "-m", "hfpc.cli", "doctor", "--aws"], env=environment, capture_output=True, text=True
        )
        [line] = [line for line in done.stdout.splitlines() if "our image in ECR" in line]
        return line

    ecr.create_repository(repositoryName="team/hfpc-serving-cpu")
    assert "cannot be seen" in printed() and "ImageNotFound" in printed()
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": media_type, "layers": []})
    ecr.put_image(repositoryName="team/hfpc-serving-cpu", imageManifest=manifest, imageTag=__version__)
    assert printed().endswith(f"{host}/team/hfpc-serving-cpu:{__version__}")
