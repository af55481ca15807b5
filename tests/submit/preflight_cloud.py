"""A pipeline, and a Google Cloud on loopback in which nothing keeps it from running."""

import json

from google.protobuf import json_format
from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
from kfp import dsl

from hfpc import components, images
from tests.cloud.google_services import Account, Bucket, World

TASKS = "tasks@test.iam.gserviceaccount.com"
DEFAULT = "123456-compute@developer.gserviceaccount.com"
AGENT = "service-123456@gcp-sa-aiplatform.iam.gserviceaccount.com"
JOBS_AGENT = "service-123456@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
ROOT = "//storage.googleapis.com/projects/_/buckets/artifacts"
PROJECT = "//cloudresourcemanager.googleapis.com/projects/test"
KEY = "projects/test/locations/us-central1/keyRings/ring/cryptoKeys/key"
NETWORK = "projects/123456/global/networks/inside"
SECRET = "hf_AbcdefghijklmnopQRSTUV"
WRITING = {"storage.objects.create", "storage.objects.get", "storage.objects.list"}


def read(source: str, checkpoint_uri: str):
    print(source, checkpoint_uri)


def train(base_model: str):
    print(base_model)


def deploy(image: str, machine_type: str, accelerator_type: str, accelerator_count: int, min_replicas: int):
    print(image, machine_type, accelerator_type, accelerator_count, min_replicas)


def compiled(registry):
    """The spec of a pipeline with a GPU task, a custom job on two nodes, and a deployment."""
    component = dsl.component(base_image=f"{registry}/hfpc/cpu:1.0", install_kfp_package=False)
    training = component(train)
    nodes = create_custom_training_job_from_component(
        training, machine_type="g2-standard-96", accelerator_type="NVIDIA_L4", accelerator_count=8, replica_count=2
    )

    @dsl.pipeline(name="toy")
    def toy(
        source: str = "gs://data/tweets.csv",
        base_model: str = "ann/open",
        machine_type: str = "n1-standard-4",
        checkpoint_uri: str = "gs://data/checkpoints",
        image: str = "",
    ):
        component(read)(source=source, checkpoint_uri=checkpoint_uri)
        training(base_model=base_model).set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)
        nodes(base_model=base_model)
        component(deploy)(
            image=image,
            machine_type=machine_type,
            accelerator_type="NVIDIA_TESLA_T4",
            accelerator_count=1,
            min_replicas=2,
        )

    spec = json.dumps(json_format.MessageToDict(toy.pipeline_spec))
    # Google's launcher of custom jobs comes from this registry, too: a test asks nothing of the internet.
    return spec.replace("gcr.io/ml-pipeline", f"{registry}/ml-pipeline")


def serving(registry, **deployment):
    """The spec of a pipeline with the steps that register a model with Vertex AI and deploy it on T4s."""

    @dsl.pipeline(name="serving")
    def serves(image: str = ""):
        model = dsl.importer(artifact_uri="gs://artifacts/model", artifact_class=dsl.Model)
        predictions = dsl.importer(artifact_uri="gs://artifacts/predictions", artifact_class=dsl.Dataset)
        version = components.register_vertex_model(
            model=model.output,
            predictions=predictions.output,
            name="tweets",
            project="test",
            location="us-central1",
            image=image,
        )
        components.deploy_vertex_endpoint(
            registered=version.outputs["registered"],
            endpoint_name="tweets",
            accelerator_type="NVIDIA_TESLA_T4",
            accelerator_count=1,
            min_replicas=2,
            max_replicas=2,
            **deployment,
        )

    spec = json.dumps(json_format.MessageToDict(serves.pipeline_spec))
    return json.loads(spec.replace(images.CPU, f"{registry}/hfpc/cpu:1.0"))


def good_world():
    l4 = {"accelerators": [{"guestAcceleratorType": "nvidia-l4", "guestAcceleratorCount": 8}]}
    zones = ["us-central1-a", "us-east4-c"]
    return World(
        permissions={"aiplatform.pipelineJobs.create"},
        enabled={"aiplatform.googleapis.com", "storage.googleapis.com"},
        regions={"us-central1", "us-east4", "europe-west4"},
        buckets={
            "artifacts": Bucket(permissions=WRITING),
            "data": Bucket(objects={"tweets.csv", "folder/a.csv", "folder-2/b.csv"}),
        },
        accounts={TASKS: Account(), DEFAULT: Account()},
        granted={
            (TASKS, "storage.objects.create", ROOT),
            (DEFAULT, "storage.objects.create", ROOT),
            (JOBS_AGENT, "storage.objects.create", ROOT),
            (TASKS, "aiplatform.customJobs.create", PROJECT),
            (DEFAULT, "aiplatform.customJobs.create", PROJECT),
            (AGENT, "cloudkms.cryptoKeyVersions.useToEncrypt", f"//cloudkms.googleapis.com/{KEY}"),
        },
        types={
            "machineTypes": {"g2-standard-96": (zones, l4), "n1-standard-4": (zones, {})},
            "acceleratorTypes": {"nvidia-l4": (zones, {}), "nvidia-tesla-t4": (zones, {})},
        },
        limits={
            "custom_model_training_nvidia_l4_gpus": {"": 0, "us-central1": 16},
            "custom_model_serving_nvidia_t4_gpus": {"": 2},
        },
        jobs={"toy-1": "PIPELINE_STATE_RUNNING"},
        resources={
            KEY: {"purpose": "ENCRYPT_DECRYPT", "primary": {"state": "ENABLED"}},
            NETWORK: {"peerings": [{"name": "servicenetworking-googleapis-com", "state": "ACTIVE"}]},
        },
        images={"hfpc/cpu:1.0", "ml-pipeline/google-cloud-pipeline-components:2.22.0"},
    )


def of_level(findings, level):
    return [finding for finding in findings if finding.level == level]
