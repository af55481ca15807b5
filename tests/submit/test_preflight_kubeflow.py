"""`hfpc submit --to kubeflow`: what it looks for before anything is sent, and what it does then."""

import pytest
from typer.testing import CliRunner

from hfpc import __version__, images
from hfpc.cli import app
from hfpc.submit import compile as compiler


@pytest.fixture
def registry(services):
    """A registry with the image of all steps; where it is."""
    where = f"{services.url.removeprefix('http://')}/hfpc"
    services.world.images.add(images.CPU.replace(images.REPOSITORY, "hfpc"))
    return where


def pipeline(name, registry, folder, profile="cpu"):
    """A pipeline, compiled with the images of a registry."""
    file = folder / f"{name}.yaml"
    compiler.compile_pipeline(name, "kubeflow", file, profile)
    file.write_text(file.read_text().replace(images.REPOSITORY, registry))
    return str(file)


def submit(file, *settings, command=("submit",)):
    values = [part for setting in settings for part in ("--set", setting)]
    environment = {"COLUMNS": "300", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [*command, file, "--to", "kubeflow", *values], env=environment)


def test_where_nothing_is_wrong_only_what_is_not_checked_is_told(kubeflow, registry, tmp_path):
    done = submit(pipeline("train_and_evaluate", registry, tmp_path))
    assert done.exit_code == 0 and len(kubeflow.runs) == 1
    assert done.stderr.splitlines() == [
        "· not checked: cluster, namespace, quota, secrets: only the cluster knows them",
        "no problems found",
    ]


@pytest.mark.parametrize(
    "command", [("submit",), ("submit", "--dry-run"), ("schedule", "create", "--cron", "0 6 * * 1")]
)
def test_all_problems_are_told_at_once_and_nothing_is_sent(kubeflow, registry, services, tmp_path, command):
    services.world.images.clear()
    (tmp_path / "rows.csv").write_text("text,label\n")
    done = submit(pipeline("finetune_local", registry, tmp_path), f"source={tmp_path}/rows.csv", command=command)
    assert done.exit_code == 1 and kubeflow.faults.calls == []
    problems = [line for line in done.stderr.splitlines() if line.startswith("✗")]
    assert problems == [
        f"✗ source: {tmp_path}/rows.csv is on this machine only → the tasks run elsewhere: copy it to a bucket and "
        "give its address, e.g. s3://…",
        "✗ registry: register-local-model keeps the model in its own container, which is gone afterwards → submit "
        "finetune_kubeflow, or give a registry that all tasks share, e.g. /VOLUME/…",
        f"✗ image {registry}/hfpc-python-cpu:{__version__}: its registry does not have it → push it, or correct "
        "the reference",
    ]


def test_paths_of_volumes_may_be_meant(kubeflow, registry, tmp_path):
    file = pipeline("finetune_local", registry, tmp_path)
    done = submit(file, "source=/nowhere/rows.csv", "registry=/shared/registry")
    assert done.exit_code == 0 and len(kubeflow.runs) == 1
    notes = [line for line in done.stderr.splitlines() if line.startswith("·")]
    assert "· source: /nowhere/rows.csv is looked for in the container of the step → mount a volume there" in notes
    assert len(notes) == 2


def test_an_image_that_nobody_may_see_is_a_note(kubeflow, registry, services, tmp_path):
    """A cluster may have a password for it, or a network that reaches it."""
    services.refused.add("pull-token")
    done = submit(pipeline("train_and_evaluate", registry, tmp_path))
    hidden = "its registry gives it to nobody without a password, or does not have it"
    assert done.exit_code == 0 and f"{hidden} → give the cluster a pull secret" in done.stderr, done.stderr
    silent = submit(pipeline("train_and_evaluate", "127.0.0.1:9/hfpc", tmp_path))
    assert silent.exit_code == 0 and "not checked: 127.0.0.1:9 cannot be reached" in silent.stderr, silent.stderr


def test_spot_machines_without_a_place_for_checkpoints_are_told_of(kubeflow, registry, services, tmp_path):
    services.world.images.add(f"hfpc/hfpc-python-gpu:{__version__}")
    file = pipeline("train_and_evaluate", registry, tmp_path, "gpu-l4-spot")
    told = "spot machines: may be taken back: training starts anew then → give checkpoint_uri=s3://…"
    without = submit(file)
    assert without.exit_code == 0 and told in without.stderr, without.output
    [version] = kubeflow.versions.values()
    executors = version["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert "nodeAffinity" in executors["exec-finetune"]
    assert "spot machines" not in submit(file, "checkpoint_uri=s3://artifacts/checkpoints").stderr
    usual = submit(pipeline("train_and_evaluate", registry, tmp_path, "gpu-l4"))
    assert usual.exit_code == 0 and "spot machines" not in usual.stderr
