"""What `hfpc submit` prints of the checks before it, and what it does then."""

import pytest
from typer.testing import CliRunner

from hfpc.cli import app
from tests.submit.preflight_cloud import TASKS


@pytest.fixture
def dry_run(served, services, tmp_path):
    """`hfpc submit --dry-run` of the compiled pipeline."""
    file = tmp_path / "toy.yaml"
    file.write_text(served[2])

    def run(*options: str):
        where = ["--project", "test", "--location", "us-central1", "--pipeline-root", "gs://artifacts/toy"]
        return CliRunner().invoke(app, ["submit", str(file), "--dry-run", "--service-account", TASKS, *where, *options])

    return run


def test_nothing_is_wrong(dry_run, services):
    done = dry_run()
    assert done.exit_code == 0, done.output
    assert not [call for call in services.calls if call.startswith("POST") and "/pipelineJobs" in call]


def test_a_problem_is_one_line_and_ends_it(dry_run, services):
    del services.world.buckets["artifacts"]
    done = dry_run()
    assert done.exit_code == 1
    told = [line for line in done.output.splitlines() if "artifacts" in line]
    assert len(told) == 1, done.output
    assert "gs://artifacts" in told[0]
