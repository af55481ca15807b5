"""Containers that SageMaker can serve a model in: one table, and the choice from it by task, instance and version.

SageMaker pulls from ECR only. So our own image has to be copied there, and `HFPC_IMAGE_REPOSITORY` to say where; the
Hugging Face Deep Learning Containers are in ECR already, in an account of AWS that differs between some regions.
What is in the table was read from AWS's own (sagemaker-core 2.27.0, November 2026); `hfpc doctor --aws` says whether
newer images exist.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from hfpc import images
from hfpc.errors import ArgumentError

Processor = Literal["cpu", "gpu", "neuron"]
MODEL_FOLDER = "/opt/ml/model"
SERVERLESS = ""
"""The instance type of endpoints that have none."""

HFPC, HUGGINGFACE, VLLM = "hfpc", "huggingface", "vllm"
FAMILIES = (HFPC, HUGGINGFACE, VLLM)

_TEXT_GENERATION = "text-generation"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "text-classification": {"truncation": True},
    "token-classification": {"aggregation_strategy": "first"},  # these it cuts by itself, and knows no `truncation`
}
_ACCOUNT = "763104351884"
_OTHER_ACCOUNTS = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
}
_REGIONS = (
    *("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1"),
    *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1"),
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
)
_NO_NEURON = (
    *("af-south-1", "ap-east-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-3", "ca-central-1", "eu-north-1"),
    *("eu-south-1", "eu-west-2", "me-central-1", "me-south-1", "us-west-1"),
)
ACCOUNTS = dict.fromkeys(_REGIONS, _ACCOUNT) | _OTHER_ACCOUNTS
"""Region to the account whose registry holds the Deep Learning Containers there."""

_INSTANCE = re.compile(r"ml\.(?P<kind>[a-z]+)(?P<generation>[0-9]+)(?P<options>[a-z0-9-]*)\.[a-z0-9-]+")
_KINDS: dict[str, Processor] = {"g": "gpu", "p": "gpu", "inf": "neuron", "trn": "neuron"}
_ECR_IMAGE = re.compile(
    r"[0-9]{12}\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/[a-z0-9._/-]+"
    r"(:[\w.-]{1,128}|@sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One Deep Learning Container.

    Attributes:
        family: What it is chosen as.
        processor: What it computes on.
        version: Version it is chosen by: of transformers, or of vLLM.
        repository: Repository in the registry of AWS.
        tag: Tag in it.
        ami: Machine image whose driver it needs; "" for the instance's own.
    """

    family: str
    processor: Processor
    version: str
    repository: str
    tag: str
    ami: str = ""


ROWS = (
    Row(
        family=HUGGINGFACE,
        processor="cpu",
        version="5.5.3",
        repository="huggingface-pytorch-inference",
        tag="2.6.0-transformers5.5.3-cpu-py312-ubuntu22.04",
    ),
    Row(
        family=HUGGINGFACE,
        processor="gpu",
        version="5.5.3",
        repository="huggingface-pytorch-inference",
        tag="2.6.0-transformers5.5.3-gpu-py312-cu124-ubuntu22.04",
    ),
    Row(
        family=HUGGINGFACE,
        processor="cpu",
        version="4.51.3",
        repository="huggingface-pytorch-inference",
        tag="2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04",
    ),
    Row(
        family=HUGGINGFACE,
        processor="gpu",
        version="4.51.3",
        repository="huggingface-pytorch-inference",
        tag="2.6.0-transformers4.51.3-gpu-py312-cu124-ubuntu22.04",
    ),
    Row(
        family=HUGGINGFACE,
        processor="neuron",
        version="4.55.4",
        repository="huggingface-pytorch-inference-neuronx",
        tag="2.8.0-transformers4.55.4-neuronx-py310-sdk2.26.0-ubuntu22.04",
        ami="al2-ami-sagemaker-inference-neuron-2",
    ),
    Row(
        family=VLLM,
        processor="gpu",
        version="0.29.0",
        repository="huggingface-vllm",
        tag="0.29.0-transformers5.15.0-gpu-py312-cu130-ubuntu24.04-v1.0",
        ami="al2023-ami-sagemaker-inference-gpu-4-1",  # the one with CUDA 13
    ),
)
"""Of rows that differ in their version only, the first is taken where none is asked for.

Rows with Transformers 4 load models that `finetune` made. Others that Transformers 5 saved they load unless the
tokenizer is of the generic class `TokenizersBackend`, which Transformers 4 does not know.
"""


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image, and what a model needs to run in it.

    Attributes:
        family: "hfpc", "huggingface" or "vllm"; "" for an image that is not in the table.
        image: URI in ECR.
        processor: What its instances compute on.
        environment: Environment variables for the task.
        ami: Machine image for `InferenceAmiVersion`; "" for the instance's own.
        content_types: What it can be asked in.
        response_types: What it can answer in.
    """

    family: str
    image: str
    processor: Processor
    environment: dict[str, str] = field(default_factory=dict)
    ami: str = ""
    content_types: tuple[str, ...] = ("application/json",)
    response_types: tuple[str, ...] = ("application/json",)


def processor(instance_type: str) -> Processor:
    """What an instance type computes on.

    Args:
        instance_type: E.g. "ml.m5.xlarge"; "" stands for serverless endpoints, which have CPUs only.

    Raises:
        ArgumentError: It is no instance type of SageMaker, or one that no image of the table runs on.
    """
    if instance_type == SERVERLESS:
        return "cpu"
    found = _INSTANCE.fullmatch(instance_type)
    if found is None:
        raise ArgumentError("instance_type", instance_type, "name an instance type of SageMaker, e.g. ml.m5.xlarge")
    kind, options = found["kind"], found["options"]
    if "g" in options.partition("-")[0] or "-gb" in options:
        raise ArgumentError(
            "instance_type", instance_type, "it has an ARM processor and the images are for x86: take e.g. ml.m7i"
        )
    if (kind, found["generation"]) == ("inf", "1") or kind == "dl":
        raise ArgumentError(
            "instance_type", instance_type, "no image of the table uses its accelerator: take ml.inf2 or ml.g6"
        )
    return _KINDS.get(kind, "cpu")


def choose(
    *,
    task: str,
    region: str,
    instance_type: str = SERVERLESS,
    image: str = "",
    version: str = "",
    backend: str = "pytorch",
    max_length: int = 0,
) -> Container:
    """The container for a model.

    Args:
        task: Task of the model, e.g. "text-classification".
        region: AWS region.
        instance_type: Instance type; "" for serverless endpoints.
        image: "hfpc" (our server), "huggingface" or "vllm" (Deep Learning Containers), or the URI of an image in ECR
            that keeps to SageMaker's contract. "" means vllm for text generation on GPUs, hfpc for what only our
            server computes, and huggingface for everything else.
        version: Version of transformers or vLLM of the Deep Learning Container; "" means the newest of the table.
        backend: What computes the model: only "pytorch" runs in Deep Learning Containers.
        max_length: Tokens a request is cut to; Neuron compiles the model for this length.

    Raises:
        ArgumentError: No such container exists, not in this region, or it cannot compute the model.
    """
    kind = processor(instance_type)
    if image not in ("", *FAMILIES):
        return _own(image, kind, region)
    family = image or _default(task, kind, backend)
    if family == HFPC:
        if version:
            raise ArgumentError("version", version, "leave it empty: our image has the version of this package")
        return _hfpc(kind, region)
    if backend != "pytorch":
        raise ArgumentError("image", image, f"a model that {backend} computes runs in our image only: give hfpc")
    if family == VLLM and task != _TEXT_GENERATION:
        raise ArgumentError("image", image, f"vLLM generates text, and the model is for {task}: give huggingface")
    return _container(_row(family, kind, version, instance_type), task, region, max_length)


def family_of(image: str) -> str:
    """The family of an image, by the name of its repository, e.g. in a registry of one's own; "" for any other."""
    repository = re.split("[:@]", image)[0].rpartition("/")[2]
    return next((row.family for row in ROWS if row.repository == repository), "")


def request_parameters(family: str, task: str) -> dict[str, Any]:
    """What requests to a container carry, so that it answers as the model did when it was made.

    Our server does by itself what the containers of Hugging Face do only when they are asked to: it cuts texts that
    are longer than the model takes, and gives a word the label of its first token, and an entity as a whole.

    Args:
        family: Family of the container, as in `Container`.
        task: Task of the model.
    """
    return dict(_PARAMETERS.get(task, {})) if family == HUGGINGFACE else {}


def uri(row: Row, region: str) -> str:
    """The URI of a Deep Learning Container in a region.

    Raises:
        ArgumentError: It is not in this region.
    """
    if region not in ACCOUNTS or (row.processor == "neuron" and region in _NO_NEURON):
        fix = f"{row.repository} is not known to be there: give the URI of an image in this region's ECR as image"
        raise ArgumentError("region", region, fix)
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"{ACCOUNTS[region]}.dkr.ecr.{region}.amazonaws.com{suffix}/{row.repository}:{row.tag}"


def _default(task: str, kind: Processor, backend: str) -> str:
    if backend != "pytorch":
        return HFPC
    return VLLM if task == _TEXT_GENERATION and kind == "gpu" else HUGGINGFACE


def _row(family: str, kind: Processor, version: str, instance_type: str) -> Row:
    fitting = [row for row in ROWS if row.family == family and row.processor == kind]
    if not fitting:
        usable = sorted({row.processor for row in ROWS if row.family == family})
        raise ArgumentError(
            "instance_type", instance_type, f"the image {family} runs on {', '.join(usable)} and this is {kind}"
        )
    for row in fitting:
        if version in ("", row.version):
            return row
    raise ArgumentError(
        "version", version, f"give one of {', '.join(row.version for row in fitting)}, or leave it empty"
    )


def _container(row: Row, task: str, region: str, max_length: int) -> Container:
    if row.family == VLLM:
        environment = {"SM_VLLM_MODEL": MODEL_FOLDER}
    else:
        environment = {"HF_TASK": task}
        if row.processor == "neuron":
            if max_length < 1:
                raise ArgumentError("max_length", max_length, "Neuron compiles for one length: give it in tokens")
            environment |= {"HF_OPTIMUM_BATCH_SIZE": "1", "HF_OPTIMUM_SEQUENCE_LENGTH": str(max_length)}
    return Container(
        family=row.family,
        image=uri(row, region),
        processor=row.processor,
        environment=environment,
        ami=row.ami if row.processor != "cpu" else "",
    )


def _hfpc(kind: Processor, region: str) -> Container:
    if kind != "cpu":
        raise ArgumentError("image", HFPC, f"our image computes on CPUs and the instance has {kind}: take e.g. ml.m7i")
    own = _own(images.SERVING, kind, region, argument="HFPC_IMAGE_REPOSITORY", shown=images.REPOSITORY)
    return Container(
        family=HFPC,
        image=own.image,
        processor=kind,
        content_types=("application/json", "application/jsonlines", "text/csv"),
        response_types=("application/json", "application/jsonlines", "text/csv"),
    )


def _own(image: str, kind: Processor, region: str, *, argument: str = "image", shown: str = "") -> Container:
    found = _ECR_IMAGE.fullmatch(image)
    if found is None:
        where = f"ACCOUNT.dkr.ecr.{region}.amazonaws.com/…"
        fix = f"SageMaker pulls from ECR only: copy the image there and give {where}"
        fix += "" if shown else f", or one of {', '.join(FAMILIES)}"
        raise ArgumentError(argument, shown or image, fix)
    if found["region"] != region:
        raise ArgumentError(argument, shown or image, f"SageMaker in {region} pulls from the ECR of {region} only")
    return Container(family=family_of(image), image=image, processor=kind)
