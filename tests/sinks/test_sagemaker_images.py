import pytest

from hfpc.errors import ArgumentError
from hfpc.sinks import sagemaker_images
from hfpc.sinks.sagemaker_images import choose, processor, request_parameters

TEXTS = {"task": "text-classification", "region": "eu-west-1"}
GENERATION = {"task": "text-generation", "region": "us-east-1"}
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/serving:1.0"


@pytest.mark.parametrize(
    ("instance_type", "kind"),
    [
        ("", "cpu"),
        ("ml.m5.xlarge", "cpu"),
        ("ml.c7i.2xlarge", "cpu"),
        ("ml.g4dn.xlarge", "gpu"),
        ("ml.g6e.12xlarge", "gpu"),
        ("ml.p4de.24xlarge", "gpu"),
        ("ml.p6-b200.48xlarge", "gpu"),
        ("ml.inf2.xlarge", "neuron"),
        ("ml.trn1.2xlarge", "neuron"),
    ],
)
def test_what_an_instance_computes_on(instance_type, kind):
    assert processor(instance_type) == kind


@pytest.mark.parametrize(
    "instance_type", ["m5.xlarge", "ml.m5", "ml.inf1.xlarge", "ml.c7g.large", "ml.m6gd.large", "ml.x"]
)
def test_an_instance_that_runs_no_image_of_the_table_is_refused(instance_type):
    with pytest.raises(ArgumentError, match="instance_type="):
        processor(instance_type)


def test_every_instance_type_of_sagemaker_is_understood():
    """The client knows them all; only ARM, Gaudi and the first Inferentia are refused."""
    session = pytest.importorskip("botocore.session")
    types = session.get_session().get_service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum
    refused = set()
    for instance_type in types:
        try:
            processor(instance_type)
        except ArgumentError:
            refused.add(instance_type.split(".")[1])
    assert len(types) > 200
    assert refused <= {
        "dl1",
        "inf1",
        "p6e-gb200",
        "c6g",
        "c6gd",
        "c6gn",
        "c7g",
        "c8g",
        "m6g",
        "m6gd",
        "m8g",
        "r6g",
        "r6gd",
        "r7gd",
        "r8g",
    }
    assert {"c7g", "m6g", "r8g", "inf1", "p6e-gb200"} <= refused


def test_classifiers_run_in_the_container_of_hugging_face():
    cpu = choose(**TEXTS)
    assert cpu.image == (
        "763104351884.dkr.ecr.eu-west-1.amazonaws.com/huggingface-pytorch-inference:"
        "2.6.0-transformers5.5.3-cpu-py312-ubuntu22.04"
    )
    assert (cpu.family, cpu.processor, cpu.environment) == ("huggingface", "cpu", {"HF_TASK": "text-classification"})
    gpu = choose(**TEXTS, instance_type="ml.g5.xlarge")
    assert gpu.image.endswith("-gpu-py312-cu124-ubuntu22.04") and gpu.processor == "gpu"
    older = choose(**TEXTS, version="4.51.3")
    assert "transformers4.51.3-cpu" in older.image


def test_text_is_generated_by_vllm_on_gpus_only():
    gpu = choose(**GENERATION, instance_type="ml.g6.xlarge")
    assert gpu.family == "vllm" and "/huggingface-vllm:0.29.0-" in gpu.image
    assert gpu.environment == {"SM_VLLM_MODEL": "/opt/ml/model"}
    assert gpu.ami == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert choose(**GENERATION, instance_type="ml.m7i.4xlarge").family == "huggingface"


def test_neuron_gets_the_length_it_compiles_for():
    neuron = choose(**TEXTS, instance_type="ml.inf2.xlarge", max_length=128)
    assert "huggingface-pytorch-inference-neuronx:" in neuron.image
    assert neuron.environment == {
        "HF_TASK": "text-classification",
        "HF_OPTIMUM_BATCH_SIZE": "1",
        "HF_OPTIMUM_SEQUENCE_LENGTH": "128",
    }
    assert neuron.ami == "al2-ami-sagemaker-inference-neuron-2"


def test_machine_images_are_those_that_sagemaker_knows():
    session = pytest.importorskip("botocore.session")
    known = session.get_session().get_service_model("sagemaker").shape_for("ProductionVariantInferenceAmiVersion").enum
    assert {row.ami for row in sagemaker_images.ROWS if row.ami} <= set(known)


def test_accounts_differ_between_regions():
    assert choose(task="text-classification", region="cn-north-1").image.startswith(
        "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/"
    )
    assert choose(task="text-classification", region="me-south-1").image.startswith("217643126080.")
    assert len(sagemaker_images.ACCOUNTS) == 33


def test_an_own_image_is_taken_as_it_is():
    own = choose(**TEXTS, image=ECR, instance_type="ml.g5.xlarge")
    assert (own.image, own.family, own.environment, own.processor) == (ECR, "", {}, "gpu")


@pytest.mark.parametrize(
    ("repository", "family"),
    [
        ("huggingface-pytorch-inference:2.1.0-transformers4.37.0-cpu-py310-ubuntu22.04", "huggingface"),
        ("mirror/huggingface-pytorch-inference-neuronx:own", "huggingface"),
        ("huggingface-pytorch-training:2.1.0", ""),
        (f"mirror/huggingface-vllm@sha256:{'0' * 64}", "vllm"),
        ("team/serving:huggingface-vllm", ""),
    ],
)
def test_an_image_of_the_table_is_known_in_any_registry(repository, family):
    """So it is asked as its container wants to be, in a version or a copy that the table does not have."""
    assert choose(**TEXTS, image=f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/{repository}").family == family


def test_only_the_container_of_hugging_face_has_to_be_told_how_the_model_answers():
    assert request_parameters("huggingface", "text-classification") == {"truncation": True}
    assert request_parameters("huggingface", "token-classification") == {"aggregation_strategy": "first"}
    assert request_parameters("huggingface", "text-generation") == {}
    for family in ("hfpc", "vllm", ""):
        assert request_parameters(family, "text-classification") == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({**TEXTS, "image": "docker.io/serving:1"}, "image='docker.io/serving:1': SageMaker pulls from ECR only"),
        ({**TEXTS, "image": ECR.replace("eu-west-1", "us-east-1")}, "SageMaker in eu-west-1 pulls from"),
        ({**TEXTS, "image": "vllm", "instance_type": "ml.g5.xlarge"}, "vLLM generates text"),
        ({**GENERATION, "image": "vllm"}, "the image vllm runs on gpu and this is cpu"),
        ({**TEXTS, "version": "4.0"}, "version='4.0': give one of 5.5.3, 4.51.3, or leave it empty"),
        ({**TEXTS, "image": "huggingface", "backend": "openvino"}, "runs in our image only: give hfpc"),
        ({**TEXTS, "region": "mars-north-1"}, "region='mars-north-1'"),
        ({**TEXTS, "region": "eu-west-2", "instance_type": "ml.inf2.xlarge", "max_length": 8}, "region='eu-west-2'"),
        ({**TEXTS, "instance_type": "ml.inf2.xlarge"}, "max_length=0"),
        ({**TEXTS, "image": "hfpc"}, "HFPC_IMAGE_REPOSITORY='ghcr.io/hf-pipeline-components'"),
        ({**TEXTS, "backend": "onnxruntime"}, "HFPC_IMAGE_REPOSITORY="),
        ({**TEXTS, "image": "hfpc", "instance_type": "ml.g5.xlarge"}, "our image computes on CPUs"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, said):
    with pytest.raises(ArgumentError) as caught:
        choose(**arguments)
    assert said in str(caught.value)


def test_our_image_is_taken_from_the_repository_that_the_environment_names(tmp_path):
    """It is read when hfpc is imported."""
    import os
    import subprocess
    import sys

    code = (
        "from hfpc.sinks.sagemaker_images import choose\n"
        "found = choose(task='text-classification', region='eu-west-1', backend='onnxruntime')\n"
        "print(found.family, found.image, *found.content_types)"
    )
    repository = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/hfpc"
    environment = {**os.environ, "HFPC_IMAGE_REPOSITORY": repository}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    family, image, *types = done.stdout.split()
    assert family == "hfpc" and image.startswith(f"{repository}/hfpc-serving-cpu:")
    assert types == ["application/json", "application/jsonlines", "text/csv"]
