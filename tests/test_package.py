"""The built wheel, used outside the checkout."""

import os
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel installed into it, away from the checkout."""
    scratch = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(scratch), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(scratch.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith(("tests/", "components/", "pipelines/", "benchmarks/"))]
    target = scratch / "site"
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    return target


def run(installed: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_gives_the_same_packages_outside_the_checkout(installed):
    code = (
        "import hfpc, hfpc.components, hfpc.pipelines;"
        "print(hfpc.__file__, hfpc.components.__file__, hfpc.pipelines.__file__, sep='\\n');"
        "print(*hfpc.components.__all__, *hfpc.pipelines.__all__)"
    )
    *files, names = run(installed, sys.executable, "-c", code).splitlines()
    assert all(Path(file).is_relative_to(installed) for file in files), files
    assert "finetune" in names.split()
    assert "finetune_local" in names.split()


def test_carries_every_file_that_is_not_python(installed):
    for pattern in ("components/*/component.yaml", "components/*/README.md", "hfpc/reports/**/*.html"):
        for file in ROOT.glob(pattern):
            relative = file.relative_to(ROOT)
            place = installed / relative if relative.parts[0] == "hfpc" else installed / "hfpc" / relative
            assert place.exists(), relative


def test_installs_the_command(installed):
    listing = run(installed, str(installed / "bin" / "hfpc"), "list")
    assert "finetune_local" in listing
    assert "compare_models" in listing


def test_keeps_the_import_rules(installed):
    contracts = run(
        installed, str(Path(sys.executable).parent / "lint-imports"), "--config", str(ROOT / "pyproject.toml")
    )
    assert "0 broken" in contracts


def test_the_import_rules_cover_every_module():
    """All but those that compile, run and show pipelines are bound by the first contract."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    bound = set(pyproject["tool"]["importlinter"]["contracts"][0]["source_modules"])
    free = {
        f"hfpc.{name}"
        for name in ("cli", "cli_values", "cloud_cli", "console", "doctor", "kubeflow_cli", "schedule_cli", "submit")
    }
    modules = {f"hfpc.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "hfpc")])}
    assert bound | free == modules
