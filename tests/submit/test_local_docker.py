"""`hfpc run --docker` on a machine without Docker."""

import pytest
from typer.testing import CliRunner

from hfpc import cli, runs
from hfpc.errors import ArgumentError, HfpcError
from hfpc.submit.local import run
from tests.submit import TOY

pytestmark = pytest.mark.usefixtures("home")


def test_a_machine_without_an_engine_is_told_so_before_anything_starts(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(HfpcError, match=r"no Docker engine answers .*start one, or run without --docker"):
        run(f"{TOY}:chain", {"n": "4"}, docker=True)
    assert runs.all_runs() == []


@pytest.mark.parametrize("start", ["users/me", "users"])
def test_the_folder_of_a_user_is_shown_to_no_container(monkeypatch, tmp_path, start):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    own = tmp_path / "users" / "me"
    (own / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.chdir(tmp_path / start)
    with pytest.raises(ArgumentError, match=r"docker='.*': containers would read all .*keys and tokens"):
        run(f"{TOY}:chain", {"n": "4"}, docker=True)
    assert runs.all_runs() == []
    monkeypatch.chdir(own / "project")
    with pytest.raises(HfpcError, match="no Docker engine answers"):
        run(f"{TOY}:chain", {"n": "4"}, docker=True)


def test_only_containers_can_be_kept_from_the_network():
    refused = CliRunner().invoke(cli.app, ["run", f"{TOY}:chain", "--set", "n=4", "--no-network"])
    assert refused.exit_code == 1
    assert "add --docker" in refused.output
    assert runs.all_runs() == []
