"""Each problem of a submission is told before, in one line with its fix."""

import dataclasses
import json

import pytest
from google.protobuf import json_format

pytest.importorskip("google.auth")
pytest.importorskip("google_cloud_pipeline_components")

from hfpc import __version__, images
from hfpc.submit.encryption import with_kms_key
from hfpc.submit.find import definition
from hfpc.submit.preflight import preflight
from tests.submit.preflight_cloud import (
    AGENT,
    DEFAULT,
    JOBS_AGENT,
    KEY,
    NETWORK,
    PROJECT,
    ROOT,
    TASKS,
    of_level,
    serving,
)

ELSEWHERE = "tasks@other.example.org.iam.gserviceaccount.com"


def set_world(**changes):
    return lambda services: [setattr(services.world, name, value) for name, value in changes.items()]


def change(path, value):
    """Puts a value at a path of attributes and keys of the world."""

    def make(services):
        place, last = services.world, path[-1]
        for step in path[:-1]:
            place = place[step] if isinstance(place, dict) else getattr(place, step)
        if isinstance(place, dict):
            place.update({last: value})
        else:
            setattr(place, last, value)

    return make


def remove(name, key):
    def make(services):
        content = getattr(services.world, name)
        content.discard(key) if isinstance(content, set) else content.pop(key)

    return make


PROBLEMS = {
    "project unknown": (None, {"project": "tset"}, "project tset", "gcloud projects list"),
    "project to be deleted": (set_world(state="DELETE_REQUESTED"), {}, "project test", "gcloud projects list"),
    "may not submit": (set_world(permissions=set()), {}, "aiplatform.pipelineJobs.create", "roles/aiplatform.user"),
    "API off": (
        remove("enabled", "aiplatform.googleapis.com"),
        {},
        "aiplatform.googleapis.com not enabled",
        "gcloud services enable aiplatform.googleapis.com --project=test",
    ),
    "region without Vertex AI": (
        remove("regions", "us-central1"),
        {},
        "location us-central1 has no Vertex AI",
        "us-east4",
    ),
    "no region": (None, {"location": "mars"}, "location mars", "us-central1"),
    "bucket missing": (
        remove("buckets", "artifacts"),
        {},
        "bucket gs://artifacts does not exist",
        "gcloud storage buckets create gs://artifacts --project=test --location=us-central1",
    ),
    "root elsewhere": (None, {"pipeline_root": "s3://artifacts"}, "s3://artifacts", "gs://BUCKET/FOLDER"),
    "bucket in another region": (
        change(["buckets", "artifacts", "about"], {"location": "EUROPE-WEST4", "locationType": "region"}),
        {},
        "it is in europe-west4, the run in us-central1",
        "give a bucket in us-central1",
    ),
    "bucket in another multi-region": (
        change(["buckets", "artifacts", "about"], {"location": "EU", "locationType": "multi-region"}),
        {},
        "it is in eu, the run in us-central1",
        "give a bucket in us-central1",
    ),
    "bucket in another pair of regions": (
        change(
            ["buckets", "artifacts", "about"],
            {
                "location": "US",
                "locationType": "dual-region",
                "customPlacementConfig": {"dataLocations": ["US-EAST1", "US-WEST1"]},
            },
        ),
        {},
        "it is in us, the run in us-central1",
        "give a bucket in us-central1",
    ),
    "tasks may not write": (
        remove("granted", (TASKS, "storage.objects.create", ROOT)),
        {},
        f"{TASKS}, as whom the tasks run, may not write",
        f"roles/storage.objectUser --member=serviceAccount:{TASKS}",
    ),
    "custom jobs may not write": (
        remove("granted", (JOBS_AGENT, "storage.objects.create", ROOT)),
        {"service_account": ""},
        "bucket gs://artifacts, access of custom jobs (train-2) Vertex AI's Custom Code Service Agent",
        f"give --service-account, or gcloud storage buckets add-iam-policy-binding gs://artifacts "
        f"--role=roles/storage.objectUser --member=serviceAccount:{JOBS_AGENT}",
    ),
    "tasks may not use Vertex AI": (
        remove("granted", (TASKS, "aiplatform.customJobs.create", PROJECT)),
        {},
        f"Vertex AI in test {TASKS}, as whom the tasks run, lacks aiplatform.customJobs.create",
        f"--member=serviceAccount:{TASKS} --role=roles/aiplatform.user",
    ),
    "account missing": (
        remove("accounts", TASKS),
        {},
        f"service account {TASKS} does not exist in test",
        "gcloud iam service-accounts create tasks --project=test",
    ),
    "default account missing": (remove("accounts", DEFAULT), {"service_account": ""}, DEFAULT, "--service-account"),
    "account of another project": (
        lambda services: services.world.granted.update(
            {
                (ELSEWHERE, "storage.objects.create", ROOT),
                (ELSEWHERE, "aiplatform.customJobs.create", PROJECT),
            }
        ),
        {"service_account": ELSEWHERE},
        "does not exist in example.org:other",
        "--project=example.org:other",
    ),
    "account disabled": (
        change(["accounts", TASKS, "disabled"], True),
        {},
        f"service account {TASKS} is disabled",
        "gcloud iam service-accounts enable",
    ),
    "may not act as the account": (
        change(["accounts", TASKS, "may_be_acted_as"], False),
        {},
        "iam.serviceAccounts.actAs",
        "roles/iam.serviceAccountUser",
    ),
    "image missing": (remove("images", "hfpc/cpu:1.0"), {}, "has no hfpc/cpu:1.0", "push it"),
    "no image": (
        None,
        {"parameters": {"image": "Not an image"}},
        "image Not an image is no reference to an image",
        "registry/name:tag",
    ),
    "accelerator not in the region": (
        change(["types", "acceleratorTypes", "nvidia-l4"], (["us-east4-c"], {})),
        {},
        "accelerator nvidia-l4 us-central1 has none (train, train-2)",
        "us-east4",
    ),
    "accelerator unknown": (
        change(["types", "acceleratorTypes", "nvidia-tesla-t4"], ([], {})),
        {},
        "accelerator nvidia-tesla-t4 there is none of this name (deploy)",
        "correct its name",
    ),
    "machine type not in the region": (
        None,
        {"parameters": {"machine_type": "n9-standard-4"}},
        "machine type n9-standard-4 there is none of this name (deploy)",
        "correct its name",
    ),
    "machine with other accelerators": (
        change(
            ["types", "machineTypes", "g2-standard-96"],
            (
                ["us-central1-a"],
                {"accelerators": [{"guestAcceleratorType": "nvidia-l4", "guestAcceleratorCount": 4}]},
            ),
        ),
        {},
        "accelerators of g2-standard-96 it has 4 of nvidia-l4, and 8 of nvidia-l4 is asked for",
        "count 4",
    ),
    "no quota": (
        change(["limits", "custom_model_training_nvidia_l4_gpus", "us-central1"], 0),
        {},
        "0 in us-central1, the run needs 16",
        "aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus",
    ),
    "too little quota": (
        change(["limits", "custom_model_serving_nvidia_t4_gpus", ""], 1),
        {},
        "1 in us-central1, the run needs 2",
        "aiplatform.googleapis.com/custom_model_serving_nvidia_t4_gpus",
    ),
    "model gated": (
        None,
        {"parameters": {"base_model": "ann/gated"}},
        "base_model ann/gated the Hub lets nobody read it without a token",
        "copy it to Cloud Storage and give base_model=gs://…",
    ),
    "model missing": (None, {"parameters": {"base_model": "ann/oepn"}}, "base_model ann/oepn", "correct base_model"),
    "data set missing": (None, {"parameters": {"source": "ann/tweest"}}, "source ann/tweest", "correct source"),
    "source missing": (
        None,
        {"parameters": {"source": "gs://data/tweats.csv"}},
        "source gs://data/tweats.csv there is nothing there",
        "correct source",
    ),
    "folder missing": (None, {"parameters": {"source": "gs://data/fold"}}, "source gs://data/fold", "correct source"),
    "bucket of checkpoints missing": (
        None,
        {"parameters": {"checkpoint_uri": "gs://nowhere/checkpoints"}},
        "the bucket nowhere does not exist",
        "correct checkpoint_uri",
    ),
    "file of this machine": (None, {"parameters": {"source": "/data/tweets.csv"}}, "/data/tweets.csv", "gs://"),
    "parameter unknown": (None, {"parameters": {"sauce": "x"}}, "sauce='x'", "did you mean source?"),
    "key missing": (remove("resources", KEY), {}, f"encryption key {KEY} does not exist", "create it"),
    "key elsewhere": (None, {"kms_key": KEY.replace("us-central1", "us-east4")}, "is in us-east4", "us-central1"),
    "key disabled": (
        change(["resources", KEY, "primary"], {"state": "DISABLED"}),
        {},
        "its primary version DISABLED",
        "ENABLED",
    ),
    "key not for Vertex AI": (
        lambda services: services.world.granted.remove(
            (AGENT, "cloudkms.cryptoKeyVersions.useToEncrypt", f"//cloudkms.googleapis.com/{KEY}")
        ),
        {},
        f"{AGENT} may not use it",
        "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    ),
    "network missing": (remove("resources", NETWORK), {}, f"network {NETWORK} does not exist", "create it"),
    "network by id": (None, {"network": "projects/test/global/networks/inside"}, "its id test", "projectNumber"),
    "network not peered": (change(["resources", NETWORK, "peerings"], []), {}, "peered with nothing", "vpc-peerings"),
    "label": (None, {"labels": {"Team": "nlp", "step": "1"}}, "Team=nlp", "lower case"),
    "labels": (None, {"labels": {f"key{number}": "x" for number in range(64)}}, "64 labels", "give at most 63"),
    "job id": (None, {"job_id": "Toy_2"}, "job id Toy_2", "lower case"),
    "job id taken": (None, {"job_id": "toy-1"}, "taken by a run in state PIPELINE_STATE_RUNNING", "another job id"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_one_line_with_its_fix(services, submission, name):
    plant, changes, found, fix = PROBLEMS[name]
    if plant:
        plant(services)
    told = of_level(preflight(dataclasses.replace(submission, **changes)), "problem")
    assert len(told) == 1, told
    line = f"{told[0].what} {told[0].found}"
    assert found in line
    assert fix in told[0].fix
    assert "\n" not in line + told[0].fix
    assert services.unknown_requests == []


@pytest.mark.parametrize(
    ("change_of_spec", "found"),
    [
        ({"platforms": {"kubernetes": {}}}, "Kubernetes settings"),
        ({"schemaVersion": "1.0"}, "schemaVersion 1.0"),
        ({"pipelineInfo": {"name": "My pipeline"}}, "'My pipeline'"),
    ],
)
def test_a_spec_that_vertex_does_not_load(submission, change_of_spec, found):
    told = of_level(preflight(dataclasses.replace(submission, spec={**submission.spec, **change_of_spec})), "problem")
    assert len(told) == 1
    assert found in told[0].found
    assert told[0].fix


def on_pools(spec, **changes):
    """The spec with another machine in both worker pools of the custom job, and on spot machines where told."""
    changed = json.loads(json.dumps(spec))
    for component in changed["components"].values():
        inputs = component.get("inputDefinitions", {}).get("parameters", {})
        if "worker_pool_specs" in inputs:
            inputs["strategy"]["defaultValue"] = changes.get("strategy", "STANDARD")
            for pool in inputs["worker_pool_specs"]["defaultValue"]:
                pool["machine_spec"] = changes["machine_spec"]
    return changed


def test_chips_of_tpus_are_counted_over_the_whole_slice(services, submission):
    machine = {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x4"}
    chips = {"accelerators": [{"guestAcceleratorType": "ct5lp", "guestAcceleratorCount": 4}]}
    services.world.types["machineTypes"]["ct5lp-hightpu-4t"] = (["us-central1-a"], chips)
    services.world.limits["custom_model_training_tpu_v5e"] = {"us-central1": 4}
    spec = on_pools(submission.spec, machine_spec=machine)
    told = of_level(preflight(dataclasses.replace(submission, spec=spec)), "problem")
    assert [finding.found for finding in told] == ["4 in us-central1, the run needs 16"]  # two pools, a slice each
    assert "aiplatform.googleapis.com/custom_model_training_tpu_v5e" in told[0].fix
    services.world.limits["custom_model_training_tpu_v5e"] = {"us-central1": -1}  # no limit
    assert of_level(preflight(dataclasses.replace(submission, spec=spec)), "problem") == []


def test_spot_machines_have_a_quota_of_their_own(services, submission):
    machine = {"machine_type": "g2-standard-96", "accelerator_type": "NVIDIA_L4", "accelerator_count": 8}
    spec = on_pools(submission.spec, machine_spec=machine, strategy="SPOT")
    services.world.limits["custom_model_training_preemptible_nvidia_l4_gpus"] = {"": 0}
    told = of_level(preflight(dataclasses.replace(submission, spec=spec)), "problem")
    assert [finding.found for finding in told] == ["0 in us-central1, the run needs 16"]
    assert "aiplatform.googleapis.com/custom_model_training_preemptible_nvidia_l4_gpus" in told[0].fix


def test_a_metric_that_is_not_told_is_a_note(services, submission):
    del services.world.limits["custom_model_training_nvidia_l4_gpus"]
    findings = preflight(submission)
    assert of_level(findings, "problem") == []
    assert [finding.what for finding in of_level(findings, "note")] == ["quota of nvidia-l4 (custom_model_training)"]


def registry_of(services):
    return services.url.removeprefix("http://")


def serves(name, count, **resources):
    """An endpoint at which a model serves on T4s."""
    spec = {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": count}
    return {name: {"deployedModels": [{"dedicatedResources": {"machineSpec": spec, **resources}}]}}


@pytest.mark.parametrize(
    ("there", "spot", "told"),
    [
        (serves("other", 1), False, []),
        (serves("tweets", 1, minReplicaCount=3), False, ["4 in us-central1, the run needs 5"]),
        (serves("tweets", 1, minReplicaCount=3, spot=True), False, ["1 in us-central1, the run needs 3"]),
        ({}, True, ["1 in us-central1, the run needs 2"]),
    ],
)
def test_what_serves_now_needs_its_quota_until_the_new_model_serves(services, submission, there, spot, told):
    services.world.endpoints = there
    services.world.limits["custom_model_serving_nvidia_t4_gpus"] = {"": 4}
    services.world.limits["custom_model_serving_preemptible_nvidia_t4_gpus"] = {"": 1}
    spec = serving(registry_of(services), spot=spot)
    findings = preflight(dataclasses.replace(submission, spec=spec))
    assert [f.found for f in findings if f.what.startswith("quota") and f.level != "ok"] == told


@pytest.mark.parametrize("there", ["", KEY.replace("/key", "/other"), KEY])
def test_an_endpoint_keeps_the_key_that_it_was_made_with(services, submission, there):
    services.world.endpoints = {"tweets": {"encryptionSpec": {"kmsKeyName": there}} if there else {}}
    findings = preflight(dataclasses.replace(submission, spec=with_kms_key(serving(registry_of(services)), KEY)))
    told = [(f.level, f.found) for f in findings if f.what == "endpoint tweets"]
    assert told == ([] if there == KEY else [("problem", f"was made with {there or 'a key of Google'}, and keeps it")])
    services.world.endpoints = {}
    findings = preflight(dataclasses.replace(submission, spec=with_kms_key(serving(registry_of(services)), KEY)))
    assert [f.what for f in findings if f.what == "endpoint tweets"] == []


@pytest.mark.parametrize(
    "image", ["", "us-docker.pkg.dev/test/images/hfpc-serving-cpu:2", "us-docker.pkg.dev/a/cuda:1"]
)
def test_an_accelerator_that_would_stay_idle(services, submission, image):
    given = {"image": image} if image else {}
    findings = preflight(dataclasses.replace(submission, spec=serving(registry_of(services)), parameters=given))
    told = [f for f in of_level(findings, "problem") if f.what.startswith("accelerator_type")]
    if "cuda" in image:
        assert told == []
        return
    assert [f.what for f in told] == ["accelerator_type NVIDIA_TESLA_T4 of deploy-vertex-endpoint"]
    assert "hfpc-serving-cpu" in told[0].found and "stay idle" in told[0].found
    assert told[0].fix == "give none, or an image that has CUDA"


@pytest.mark.parametrize("permission", ["aiplatform.models.upload", "aiplatform.endpoints.deploy"])
def test_the_tasks_must_be_allowed_to_register_and_to_deploy(services, submission, permission):
    needed = {"aiplatform.models.upload", "aiplatform.endpoints.deploy"}
    services.world.granted |= {(TASKS, each, PROJECT) for each in needed - {permission}}
    findings = preflight(dataclasses.replace(submission, spec=serving(registry_of(services))))
    told = [finding for finding in of_level(findings, "problem") if finding.what == "Vertex AI in test"]
    assert [finding.found for finding in told] == [f"{TASKS}, as whom the tasks run, lacks {permission}"]
    services.refused = {"policytroubleshooter"}
    findings = preflight(dataclasses.replace(submission, spec=serving(registry_of(services))))
    assert [f.level for f in findings if f.what == "Vertex AI"] == ["note"]


@pytest.mark.parametrize("given", [{}, {"image": "docker.io/ann/serving:1"}])
def test_an_image_that_vertex_ai_does_not_serve(services, submission, given):
    submission = dataclasses.replace(submission, spec=serving(registry_of(services)), parameters=given)
    told = [finding for finding in of_level(preflight(submission), "problem") if finding.what.startswith("image")]
    default = f"{images.DEFAULT_REPOSITORY}/hfpc-serving-cpu:{__version__}"
    assert [finding.what for finding in told] == [f"image {given.get('image', default)}"]
    assert told[0].found == "Vertex AI serves images of Artifact Registry and Container Registry only"
    assert "HFPC_IMAGE_REPOSITORY" in told[0].fix and "image=" in told[0].fix


@pytest.mark.parametrize(
    ("registry", "source", "told"),
    [
        ("", "gs://data/tweets.csv", ["register-local-model keeps the model in its own container"]),
        ("/gcs/artifacts/registry", "/gcs/data/tweets.csv", []),
        ("/gcs/artifacts/registry", "/data/tweets.csv", ["source=/data/tweets.csv is on this machine only"]),
    ],
)
def test_what_no_other_task_sees_and_what_vertex_ai_mounts(services, submission, registry, source, told):
    spec = json_format.MessageToDict(definition("finetune_local").pipeline_spec)
    given = dataclasses.replace(submission, spec=spec, parameters={"registry": registry, "source": source})
    found = [finding.found for finding in of_level(preflight(given), "problem") if "image" not in finding.what]
    assert len(found) == len(told) and all(map(str.startswith, found, told)), found
