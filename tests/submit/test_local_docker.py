"""`hfpc run --docker` on a machine without Docker."""

import pytest
from typer.testing import CliRunner

from hfpc import cli, runs
from hfpc.errors import HfpcError
from hfpc.submit.local import run
from tests.submit import TOY

pytestmark = pytest.mark.usefixtures("home")


def test_a_machine_without_an_engine_is_told_so_before_anything_starts(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(HfpcError, match=r"no Docker engine answers .*start one, or run without --docker"):
        run(f"{TOY}:chain", {"n": "4"}, docker=True)
    assert runs.all_runs() == []


def test_only_containers_can_be_kept_from_the_network():
    refused = CliRunner().invoke(cli.app, ["run", f"{TOY}:chain", "--set", "n=4", "--no-network"])
    assert refused.exit_code == 1
    assert "add --docker" in refused.output
    assert runs.all_runs() == []
