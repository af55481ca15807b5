"""The loopback Kubeflow answers the methods of kfp's client, refuses what Kubeflow refuses, and says what it lacks."""

from pathlib import Path

import kfp
import pytest
import yaml
from kfp_server_api import ApiException

from tests.cloud.kubeflow import TOKEN
from tests.submit.cloud_pipelines import toy_cloud

CRON = "0 0 6 * * 1"


@pytest.fixture
def client(kubeflow):
    return kfp.Client(kubeflow.url, existing_token=TOKEN)


@pytest.fixture
def package(tmp_path) -> Path:
    file = tmp_path / "toy.yaml"
    kfp.compiler.Compiler().compile(toy_cloud, str(file))
    return file


@pytest.fixture
def version(kubeflow, client, package):
    pipeline = client.pipelines.pipeline_service_create_pipeline(pipeline={"display_name": "toy"})
    return client.upload_pipeline_version(str(package), "first", pipeline_id=pipeline.pipeline_id)


def status_of(call, *arguments, **given):
    with pytest.raises(ApiException) as caught:
        call(*arguments, **given)
    return caught.value.status


def test_kfp_s_own_methods_submit_wait_and_schedule(kubeflow, client, version):
    assert client.get_kfp_healthz().multi_user is False
    assert client.get_pipeline_id("toy") == version.pipeline_id
    experiment = client.create_experiment("trials").experiment_id
    assert client.create_experiment("trials").experiment_id == experiment
    run = client.run_pipeline(
        experiment, "toy-1", pipeline_id=version.pipeline_id, version_id=version.pipeline_version_id
    )
    assert client.wait_for_run_completion(run.run_id, 60, sleep_duration=0.01).state == "SUCCEEDED"
    ids = {"pipeline_id": version.pipeline_id, "version_id": version.pipeline_version_id}
    made = client.create_recurring_run(experiment, "weekly", cron_expression=CRON, **ids)
    client.disable_recurring_run(made.recurring_run_id)
    [listed] = client.list_recurring_runs().recurring_runs
    assert (listed.display_name, listed.status) == ("weekly", "DISABLED")
    client.delete_recurring_run(made.recurring_run_id)
    assert kubeflow.recurring_runs == {}


def test_pages_are_small(client):
    for number in range(5):
        client.create_experiment(f"trial-{number}")
    first = client.list_experiments(page_size=100)
    assert len(first.experiments) == 2 and first.next_page_token


def test_what_kubeflow_refuses(kubeflow, client, package, version, tmp_path):
    upload, ids = client.upload_pipeline_version, {"pipeline_id": version.pipeline_id}
    assert status_of(upload, str(package), "first", **ids) == 409
    assert status_of(client.pipelines.pipeline_service_create_pipeline, pipeline={"display_name": "toy"}) == 409
    assert status_of(upload, str(package), "second", pipeline_id="none") == 404
    spec = yaml.safe_load(package.read_text())
    settings = {"exec-learn": {"secretAsEnvironment": []}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": settings}}}}
    for number, documents in enumerate([[{"root": 1}], [spec, platform]]):
        broken = tmp_path / f"broken-{number}.yaml"
        broken.write_text(yaml.safe_dump_all(documents))
        assert status_of(upload, str(broken), "second", **ids) == 400
    experiment = client.create_experiment("trials").experiment_id
    ids["version_id"] = version.pipeline_version_id
    assert status_of(client.run_pipeline, experiment, "x", params={"row": 1}, **ids) == 400
    assert status_of(client.run_pipeline, "none", "x", **ids) == 404
    for cron in ("0 6 * * 1", "0 0 6 * * 7", "0 0 25 * * *"):
        assert status_of(client.create_recurring_run, experiment, "x", cron_expression=cron, **ids) == 400
    given = {"cron_expression": CRON, "max_concurrency": 11}
    assert status_of(client.create_recurring_run, experiment, "x", **given, **ids) == 400
    assert status_of(client.get_run, "none") == 404
    kubeflow.multi_user = True
    assert status_of(client.list_experiments) == 400
    assert status_of(client.list_experiments, namespace="others") == 403


def test_who_is_not_known_is_refused_and_what_is_not_known_is_recorded(kubeflow, client):
    stranger = kfp.Client(kubeflow.url, existing_token="guessed", namespace="team")
    assert status_of(stranger.list_runs) == 401
    assert status_of(client.archive_experiment, "none") == 501
    assert kubeflow.unknown_requests == ["POST /pipeline/apis/v2beta1/experiments/none:archive"]
    kubeflow.unknown_requests.clear()
