"""What would make a submitted run fail is told before, one line each; what cannot be asked is said and not guessed."""

import dataclasses
import json

import pytest

pytest.importorskip("google.auth")
pytest.importorskip("google_cloud_pipeline_components")

from google.protobuf import json_format
from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
from kfp import dsl

from hfpc.redaction import MASK
from hfpc.submit.preflight import preflight
from hfpc.submit.vertex_submission import VertexSubmission
from tests.cloud.google_services import APIS, CALLER, Account, Bucket, GoogleServices, World
from tests.cloud.hub import Hub

TASKS = "tasks@test.iam.gserviceaccount.com"
DEFAULT = "123456-compute@developer.gserviceaccount.com"
AGENT = "service-123456@gcp-sa-aiplatform.iam.gserviceaccount.com"
ROOT = "//storage.googleapis.com/projects/_/buckets/artifacts"
KEY = "projects/test/locations/us-central1/keyRings/ring/cryptoKeys/key"
NETWORK = "projects/123456/global/networks/inside"
SECRET = "hf_AbcdefghijklmnopQRSTUV"
OK = (
    "credentials",
    "project test",
    "APIs",
    "location us-central1",
    f"service account {TASKS}",
    "pipeline",
    "parameters",
    "labels",
    "job id toy-2",
    "bucket gs://artifacts, location",
    "bucket gs://artifacts, access",
    "source gs://data/tweets.csv",
    "checkpoint_uri gs://data/checkpoints",
    "image 127.0.0.1",
    "machine type g2-standard-96",
    "machine type n1-standard-4",
    "accelerator nvidia-l4",
    "accelerator nvidia-tesla-t4",
    "quota of nvidia-l4 (custom_model_training)",
    "quota of nvidia-tesla-t4 (custom_model_serving)",
    "base_model ann/open",
    f"encryption key {KEY}",
    f"network {NETWORK}",
)
WRITING = {"storage.objects.create", "storage.objects.get", "storage.objects.list"}


def read(source: str, checkpoint_uri: str):
    print(source, checkpoint_uri)


def train(base_model: str):
    print(base_model)


def deploy(machine_type: str, accelerator_type: str, accelerator_count: int, min_replicas: int):
    print(machine_type, accelerator_type, accelerator_count, min_replicas)


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
    ):
        component(read)(source=source, checkpoint_uri=checkpoint_uri)
        training(base_model=base_model).set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)
        nodes(base_model=base_model)
        component(deploy)(
            machine_type=machine_type, accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1, min_replicas=2
        )

    spec = json.dumps(json_format.MessageToDict(toy.pipeline_spec))
    # Google's launcher of custom jobs comes from this registry, too: a test asks nothing of the internet.
    return spec.replace("gcr.io/ml-pipeline", f"{registry}/ml-pipeline")


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


@pytest.fixture(scope="module")
def hub():
    with Hub().serve() as served:
        served.repository("models", "ann/open").commit({"config.json": b"{}"})
        gated = served.repository("models", "ann/gated")
        gated.commit({"config.json": b"{}"})
        gated.token = SECRET
        served.repository("datasets", "ann/tweets").commit({"train.csv": b"text,label"})
        yield served


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The services, the key file of a caller, and a compiled pipeline."""
    with GoogleServices().serve() as services:
        file = services.write_credentials(tmp_path_factory.mktemp("credentials") / "key.json")
        yield services, file, compiled(services.url.removeprefix("http://"))


@pytest.fixture
def services(served, hub, monkeypatch, tmp_path):
    """The services of a cloud in which everything is well; the environment leads there."""
    services, file, _ = served
    services.world = good_world()
    for log in (services.refused, services.hanging, services.calls, services.unknown_requests):
        log.clear()
    environment = {**services.environment, "GOOGLE_APPLICATION_CREDENTIALS": str(file), "HF_ENDPOINT": hub.endpoint}
    for name, value in {**environment, "HF_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    return services


@pytest.fixture
def submission(served, services):
    return VertexSubmission(
        name="toy",
        spec=json.loads(served[2]),
        parameters={},
        project="test",
        location="us-central1",
        pipeline_root="gs://artifacts/toy",
        job_id="toy-2",
        service_account=TASKS,
        network=NETWORK,
        kms_key=KEY,
        labels={"team": "nlp"},
    )


def of_level(findings, level):
    return [finding for finding in findings if finding.level == level]


def test_where_everything_is_well_there_is_neither_problem_nor_note(services, submission):
    findings = preflight(submission)
    assert [finding for finding in findings if finding.level != "ok"] == []
    told = [finding.what for finding in findings]
    for what in OK:
        assert [start for start in told if start.startswith(what)], f"nothing is told of {what}"
    assert services.unknown_requests == []
    asked = [call for call in services.calls if call.split()[1].split("/")[1] in APIS]
    assert len(asked) == len(set(asked)), "something was asked twice"


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
    "secrets API off": (
        None,
        {"parameters": {"base_model": "ann/open", "checkpoint_uri": "projects/test/secrets/token"}},
        "secretmanager.googleapis.com",
        "gcloud services enable secretmanager.googleapis.com",
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
    "account missing": (
        remove("accounts", TASKS),
        {},
        f"service account {TASKS} does not exist in test",
        "gcloud iam service-accounts create tasks --project=test",
    ),
    "default account missing": (remove("accounts", DEFAULT), {"service_account": ""}, DEFAULT, "--service-account"),
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
    "model gated": (None, {"parameters": {"base_model": "ann/gated"}}, "base_model ann/gated", "export HF_TOKEN"),
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
        set_world(granted={(TASKS, "storage.objects.create", ROOT)}),
        {},
        f"{AGENT} may not use it",
        "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    ),
    "network missing": (remove("resources", NETWORK), {}, f"network {NETWORK} does not exist", "create it"),
    "network by id": (None, {"network": "projects/test/global/networks/inside"}, "its id test", "projectNumber"),
    "network not peered": (change(["resources", NETWORK, "peerings"], []), {}, "peered with nothing", "vpc-peerings"),
    "label": (None, {"labels": {"Team": "nlp", "step": "1"}}, "Team=nlp", "lower case"),
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


def test_several_problems_at_once(services, submission):
    services.world.buckets.pop("artifacts")
    services.world.images.clear()
    services.world.limits["custom_model_training_nvidia_l4_gpus"] = {"": 0}
    findings = preflight(dataclasses.replace(submission, job_id="toy-1", labels={"A": "b"}))
    told = sorted(finding.what.split()[0] for finding in of_level(findings, "problem"))
    assert told == ["bucket", "image", "image", "job", "labels", "quota"]


@pytest.mark.parametrize(
    ("location", "about"),
    [
        ("us-central1", {"location": "US", "locationType": "multi-region"}),
        ("europe-west4", {"location": "EUR4", "locationType": "dual-region"}),
        ("us-central1", {"location": "NAM4", "locationType": "dual-region"}),
        (
            "us-east4",
            {
                "location": "US",
                "locationType": "dual-region",
                "customPlacementConfig": {"dataLocations": ["US-EAST4", "US-WEST1"]},
            },
        ),
    ],
)
def test_a_bucket_of_several_regions_fits_each_of_them(services, submission, location, about):
    services.world.buckets["artifacts"].about = about
    findings = preflight(dataclasses.replace(submission, location=location))
    assert [finding.level for finding in findings if finding.what == "bucket gs://artifacts, location"] == ["ok"]


@pytest.mark.parametrize(
    "source", ["gs://data/folder", "gs://data/folder/", "gs://data/*.csv", "gs://data", "ann/tweets"]
)
def test_a_source_that_is_there(submission, source):
    findings = preflight(dataclasses.replace(submission, parameters={"source": source}))
    assert [finding.level for finding in findings if finding.what == f"source {source}"] == ["ok"]


def test_the_caller_is_asked_about_where_the_account_cannot_be(services, submission):
    services.refused = {"policytroubleshooter"}
    services.world.buckets["artifacts"].permissions = {"storage.objects.get", "storage.objects.list"}
    told = of_level(preflight(submission), "problem")
    assert [finding.found for finding in told] == ["the caller lacks storage.objects.create"]
    services.refused = set()
    findings = preflight(submission)
    assert of_level(findings, "problem") == []
    assert ["the caller lacks" in finding.found for finding in of_level(findings, "note")] == [True]


def test_a_gated_model_with_a_token_is_a_note_that_the_tasks_need_one(submission, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    findings = preflight(dataclasses.replace(submission, parameters={"base_model": "ann/gated"}))
    assert of_level(findings, "problem") == []
    assert [f.what for f in of_level(findings, "note")] == ["base_model ann/gated"]
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    findings = preflight(dataclasses.replace(submission, parameters={"base_model": "ann/gated"}))
    assert [f.found for f in of_level(findings, "problem")] == ["it is gated, and HF_TOKEN has no access"]


def test_the_tag_latest_is_a_note(services, submission):
    services.world.images.add("hfpc/cpu:latest")
    spec = json.loads(json.dumps(submission.spec).replace("hfpc/cpu:1.0", "hfpc/cpu"))
    findings = preflight(dataclasses.replace(submission, spec=spec))
    assert ["latest" in finding.found for finding in findings if finding.level != "ok"] == [True]


@pytest.mark.parametrize("api", APIS)
def test_a_service_that_refuses_is_a_note_and_no_problem(services, submission, api):
    services.refused = {api}
    findings = preflight(submission)
    assert [f for f in of_level(findings, "problem") if api != "cloudresourcemanager"] == []
    notes = of_level(findings, "note")
    assert notes
    assert all("not checked" in finding.found for finding in notes)
    assert len(of_level(findings, "ok")) > 8


@pytest.mark.parametrize("api", [*APIS, "v2"])
def test_a_service_that_hangs_is_a_note_when_the_time_is_over(services, submission, api):
    services.hanging = {api}
    findings = preflight(submission, seconds=2.0)
    assert of_level(findings, "problem") == []
    notes = of_level(findings, "note")
    assert notes
    assert all("not checked: no answer within 2 s" in finding.found for finding in notes)
    assert of_level(findings, "ok")


def test_nothing_is_asked_without_credentials(services, submission, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    findings = preflight(submission)
    told = of_level(findings, "problem")
    assert [finding.what for finding in told] == ["credentials"]
    assert "gcloud auth application-default login" in told[0].fix
    assert [finding.what for finding in of_level(findings, "note")] == ["not checked"]
    assert not [call for call in services.calls if call.split()[1].split("/")[1] in (*APIS, "token")]


def test_a_key_that_gets_no_token(services, submission, monkeypatch, tmp_path):
    other = GoogleServices()
    other.url = services.url
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(other.write_credentials(tmp_path / "key.json")))
    told = of_level(preflight(submission), "problem")
    assert [finding.what for finding in told] == ["credentials"]
    assert "invalid_grant" in told[0].found


def test_no_secret_is_in_a_finding(services, submission, monkeypatch, served):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    parameters = {"source": f"/data/{SECRET}.csv", "base_model": "ann/gated"}
    findings = preflight(dataclasses.replace(submission, parameters=parameters, labels={"Key": SECRET}))
    text = " ".join(f"{finding.what} {finding.found} {finding.fix}" for finding in findings)
    private = json.loads(served[1].read_text())["private_key"]
    assert SECRET not in text
    assert "ya29." not in text
    assert private.splitlines()[1] not in text
    assert text.count(MASK) >= 2
    assert CALLER in text
