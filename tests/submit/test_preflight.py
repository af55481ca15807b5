"""What would make a submitted run fail is told before; what cannot be asked is said and not guessed."""

import dataclasses
import json

import pytest

pytest.importorskip("google.auth")
pytest.importorskip("google_cloud_pipeline_components")

from hfpc import __version__
from hfpc.redaction import MASK
from hfpc.submit.image_repository import with_image_repository
from hfpc.submit.preflight import SECONDS, preflight
from tests.cloud.google_services import APIS, CALLER, GoogleServices
from tests.cloud.tls import write_certificate
from tests.cloud.tunnel import tunnel
from tests.submit.preflight_cloud import KEY, NETWORK, SECRET, TASKS, of_level, serving

OK = (
    "credentials",
    "project test",
    "APIs",
    "location us-central1",
    f"service account {TASKS}",
    "Vertex AI",
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


def test_where_everything_is_well_there_is_neither_problem_nor_note(services, submission):
    findings = preflight(submission)
    assert [finding for finding in findings if finding.level != "ok"] == []
    told = [finding.what for finding in findings]
    for what in OK:
        assert [start for start in told if start.startswith(what)], f"nothing is told of {what}"
    assert services.unknown_requests == []
    asked = [call for call in services.calls if call.split()[1].split("/")[1] in APIS]
    assert len(asked) == len(set(asked)), "something was asked twice"


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
            "us-central1",
            {
                "location": "US-CENTRAL1",
                "locationType": "zone",
                "customPlacementConfig": {"dataLocations": ["us-central1-a"]},
            },
        ),
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


def test_a_gated_model_that_only_the_caller_may_read_is_a_problem(submission, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    findings = preflight(dataclasses.replace(submission, parameters={"base_model": "ann/gated"}))
    [told] = of_level(findings, "problem")
    assert told.what == "base_model ann/gated"
    assert told.found == "HF_TOKEN may read it, nobody else may, and it is not passed to the tasks"
    assert told.fix == "copy it to Cloud Storage and give base_model=gs://…: the tasks have no token"
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


@pytest.mark.parametrize("api", [*APIS, "token", "v2"])
def test_a_service_that_hangs_is_a_note_when_the_time_is_over(services, submission, api):
    services.hanging = {api}
    assert SECONDS < 10
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
    assert f"{told[0].found} {told[0].fix}".count("run `gcloud auth application-default login`") == 1
    assert told[0].found.startswith("they cannot be used: File ") and "('" not in told[0].found
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


def test_an_image_on_artifact_registry_is_asked_for_with_the_callers_token(services, submission, monkeypatch, tmp_path):
    host = "us-central1-docker.pkg.dev"
    certificate, key = write_certificate(tmp_path, host)
    spec = json.loads(json.dumps(submission.spec).replace(services.url.removeprefix("http://"), f"{host}/test/images"))
    services.world.images = {f"test/images/{image}" for image in services.world.images}
    services.world.enabled.add("artifactregistry.googleapis.com")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with services.also_over_tls(certificate, key) as port, tunnel(port) as (proxy, hosts):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        there = preflight(dataclasses.replace(submission, spec=spec))
        services.world.images = set()
        missing = preflight(dataclasses.replace(submission, spec=spec))
    assert [finding for finding in there if finding.level != "ok"] == []
    assert f"{host}:443" in hosts
    assert [finding.what.split("/")[0] for finding in of_level(missing, "problem")] == [f"image {host}"] * 2


def test_the_serving_image_is_asked_for_where_the_steps_will_take_it_from(services, submission, monkeypatch, tmp_path):
    host = "us-central1-docker.pkg.dev"
    certificate, key = write_certificate(tmp_path, host)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("HFPC_IMAGE_REPOSITORY", f"{host}/test/images")
    spec = with_image_repository(serving(services.url.removeprefix("http://")))
    ready = dataclasses.replace(submission, spec=spec)
    name = f"test/images/hfpc-serving-cpu:{__version__}"
    with services.also_over_tls(certificate, key) as port, tunnel(port) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        missing = preflight(ready)
        services.world.images.add(name)
        there = preflight(ready)
    levels = [[f.level for f in each if f.what == f"image {host}/{name}"] for each in (missing, there)]
    assert levels == [["problem"], ["ok"]]


def test_a_source_on_another_store_is_not_asked_for(submission):
    findings = preflight(dataclasses.replace(submission, parameters={"source": "s3://data/tweets.csv"}))
    assert [(f.level, f.what) for f in findings if f.level != "ok"] == [("note", "source s3://data/tweets.csv")]
