"""`hfpc publish`, and `hfpc submit` of what was published, against a loopback Artifact Registry."""

import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from typer.testing import CliRunner

from hfpc.cli import app
from tests.cloud.artifact_registry import HOST, REPOSITORY, ArtifactRegistry
from tests.cloud.google_fixtures import LOCATION, PROJECT
from tests.cloud.tls import write_certificate
from tests.cloud.tunnel import tunnel

pytest.importorskip("google.cloud.aiplatform_v1")

PIPELINE = f"{Path(__file__).with_name('cloud_pipelines.py')}:toy_cloud"


@pytest.fixture
def registry(google_cloud, _google_identity, certificate, monkeypatch, tmp_path):
    own, key = write_certificate(tmp_path, HOST)
    both = tmp_path / "both.pem"
    both.write_bytes(own.read_bytes() + certificate[0].read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(both))
    with ArtifactRegistry(_google_identity.admits).serve(own, key) as served, tunnel(served.port) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        yield served


def hfpc(*arguments):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})


def publish(*arguments, pipeline=PIPELINE):
    return hfpc("publish", pipeline, "--repository", REPOSITORY, *arguments)


def submit(address, *arguments):
    where = ["--project", PROJECT, "--location", LOCATION, "--pipeline-root", "gs://artifacts/runs"]
    return hfpc("submit", address, *where, "--skip-preflight", "--job-id", "toy-1", *arguments)


def the_job(google_cloud):
    [job] = google_cloud.vertex.objects.values()
    return json_format.MessageToDict(job._pb)


def test_what_is_published_can_be_submitted_by_its_tag(registry, google_cloud, tmp_path):
    done = publish("--tag", "latest", "--tag", "1.4.0")
    assert done.exit_code == 0, done.output
    [(version, content)] = registry.files["toy-cloud"].items()
    assert registry.tags["toy-cloud"] == {"latest": version, "1.4.0": version}
    address = f"{REPOSITORY}/toy-cloud/latest"
    assert done.output.splitlines() == [f"published toy-cloud {version}", f"run it with: hfpc submit {address}"]
    submitted = submit(address, "--set", "rows=7")
    assert submitted.exit_code == 0, submitted.output
    job = the_job(google_cloud)
    assert job["templateUri"] == address
    assert job["runtimeConfig"]["parameterValues"]["rows"] == 7
    assert job["pipelineSpec"]["root"] == yaml.safe_load(content)["root"]


def test_the_same_again_is_the_same_version_and_a_tag_moves(registry, tmp_path):
    compiled = tmp_path / "toy.yaml"
    assert hfpc("compile", PIPELINE, "--output", str(compiled)).exit_code == 0
    first = json.loads(publish("--tag", "latest", "--json", pipeline=str(compiled)).stdout)
    again = json.loads(publish("--json", pipeline=str(compiled)).stdout)
    assert first["version"] == again["version"]
    assert again["addresses"] == [f"{REPOSITORY}/toy-cloud/{first['version']}"]
    compiled.write_text(compiled.read_text().replace("0.5", "0.25"))
    changed = json.loads(publish("--tag", "latest", "--json", pipeline=str(compiled)).stdout)
    assert changed["version"] != first["version"]
    assert registry.tags["toy-cloud"] == {"latest": changed["version"]}


def test_a_template_on_other_machines_is_no_longer_that_template(registry, google_cloud):
    own = f"{Path(__file__).with_name('own_training.py')}:two_trainings"
    assert publish("--tag", "latest", pipeline=own).exit_code == 0
    done = submit(f"{REPOSITORY}/two-trainings/latest", "--profile", "gpu-l4")
    assert done.exit_code == 0, done.output
    assert "templateUri" not in the_job(google_cloud)


@pytest.mark.parametrize("kind", ["error", "timeout", "lost", "throttled"])
def test_a_call_that_fails_is_made_again(registry, google_cloud, kind):
    registry.faults.plan(0, kind, method="Upload")
    assert publish("--tag", "latest").exit_code == 0
    assert len(registry.files["toy-cloud"]) == 1
    registry.faults.plan(0, kind, method="Download")
    done = submit(f"{REPOSITORY}/toy-cloud/latest")
    assert done.exit_code == 0, done.output
    assert registry.faults.calls == ["Upload", "Upload", "Download", "Download"]


def test_what_the_registry_refuses_is_one_line_with_a_fix(registry):
    missing = submit(f"{REPOSITORY}/toy-cloud/latest")
    assert missing.exit_code == 1
    assert "Artifact Registry answers 404, there is no such pipeline, tag or version" in missing.output
    elsewhere = hfpc("publish", PIPELINE, "--repository", f"https://{HOST}/test/other")
    assert elsewhere.exit_code == 1 and "gcloud artifacts repositories create" in elsewhere.output
    registry.admits = lambda header: False
    unknown = publish()
    assert unknown.exit_code == 1 and "gcloud auth application-default login" in unknown.output
    for done in (missing, elsewhere, unknown):
        assert len(done.output.splitlines()) == 1


def test_a_registry_that_stays_away_is_told_by_its_name(registry):
    registry.faults.plan(0, "error", method="Upload", times=99)
    done = publish()
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert line.startswith(f"Artifact Registry failed at publishing to {REPOSITORY}: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["publish", PIPELINE, "--repository", "us-central1-kfp.pkg.dev/a/b"], "repository='us-central1-kfp.pkg"),
        (["publish", PIPELINE, "--repository", REPOSITORY, "--tag", "a/b"], "tag='a/b'"),
        (["publish", "no.yaml", "--repository", REPOSITORY], "there is no such file"),
        (["publish", "x.yaml", "--repository", REPOSITORY, "--profile", "gpu-l4"], "compile it for the profile"),
        (["submit", "https://example.com/pipeline.yaml", "--skip-preflight"], "give https://LOCATION-kfp.pkg.dev"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(registry, arguments, told):
    done = hfpc(*arguments)
    assert done.exit_code == 1 and told in done.output
    assert registry.faults.calls == []
