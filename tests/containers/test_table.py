"""The table of images, the lock files and the Dockerfile fit together. No Docker is needed for these."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import hfpc
from hfpc import images
from hfpc.images import IMAGES
from hfpc.submit.profiles import PROFILES

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "containers"
DOCKERFILE = (CONTAINERS / "Dockerfile").read_text()


def stages() -> dict[str, str]:
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return {parts[index + 1]: f"FROM {parts[index]}{parts[index + 2]}" for index in range(1, len(parts), 3)}


def lock(name: str) -> dict[str, str]:
    lines = (CONTAINERS / "locks" / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines)


def test_there_is_one_dockerfile():
    assert [path.name for path in CONTAINERS.rglob("*Dockerfile*")] == ["Dockerfile", "Dockerfile.dockerignore"]


def test_no_stage_has_an_entrypoint():
    assert not re.search(r"^\s*ENTRYPOINT", DOCKERFILE, re.MULTILINE)


def test_the_base_image_is_an_argument_whose_default_is_public():
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11-slim$", DOCKERFILE, re.MULTILINE)
    assert {stage.split()[1] for stage in stages().values()} == {"${BASE_IMAGE}", "packages", "steps"}


def test_what_is_shipped_runs_as_a_number_that_is_not_root():
    shipped = stages()["steps"] + stages()["server"]
    users = re.findall(r"^USER (\S+)$", shipped, re.MULTILINE)
    assert users == ["10001:10001"]
    assert not re.search(r"^RUN", shipped[shipped.index("USER ") :], re.MULTILINE)


def test_only_the_build_stages_install():
    shipped = stages()["steps"] + stages()["server"]
    assert "install" not in shipped and "--mount" not in shipped


def test_the_server_has_a_health_check_without_curl():
    assert "HEALTHCHECK" in stages()["server"] and "curl" not in DOCKERFILE
    assert "HEALTHCHECK" not in stages()["steps"]


def test_no_package_index_is_named():
    files = [CONTAINERS / "install.sh", CONTAINERS / "Dockerfile", *(CONTAINERS / "locks").iterdir()]
    named = {address for file in files for address in re.findall(r"https?://[\w.]+", file.read_text())}
    assert named == {"http://127.0.0.1"}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_every_image_has_a_lock_in_which_every_version_is_exact(image):
    locked = lock(image.name)
    assert len(locked) > 50
    versions = dict(
        line.split("==") for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines() if "==" in line
    )
    assert {name: locked[name] for name in set(locked) & set(versions)} == {
        name: versions[name] for name in set(locked) & set(versions)
    }
    has_cuda = any(name.startswith("nvidia-") for name in locked)
    assert ("torch" in locked, has_cuda) == (bool(image.torch), image.torch == "cuda")
    assert ("kfp" in locked) == (not image.serves)


def test_there_is_no_lock_without_an_image():
    assert {path.stem for path in (CONTAINERS / "locks").iterdir()} == {image.name for image in IMAGES}


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for image in IMAGES for extra in image.extras} <= set(extras)


def test_profiles_run_images_of_the_table():
    references = {image.reference for image in IMAGES}
    assert {images.for_device(images.CPU, profile.image) for profile in PROFILES} <= references


def test_the_build_says_what_it_would_do(monkeypatch):
    monkeypatch.setenv("BASE_IMAGE", "registry.example/python:3.11")
    monkeypatch.setenv("HFPC_IMAGE_REPOSITORY", "registry.example/team")
    monkeypatch.setenv("TORCH_INDEX", "https://builds.example/cpu")
    command = [sys.executable, "containers/build.py", "serving", "gpu", "--push", "--print"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    gpu, serving, *pushes = done.stdout.splitlines()
    assert "--target steps" in gpu and "IMAGE=gpu" in gpu and "TORCH_INDEX" not in gpu
    assert "TORCH_INDEX=https://builds.example/cpu" in serving
    assert "--target server" in serving and "BASE_IMAGE=registry.example/python:3.11" in serving
    assert f"--tag registry.example/team/hfpc-serving-cpu:{hfpc.__version__} ." in serving
    assert [push.rpartition(" ")[2] for push in pushes] == [
        f"registry.example/team/hfpc-{name}:{hfpc.__version__}" for name in ("python-gpu", "serving-cpu")
    ]
    unknown = subprocess.run([*command[:2], "gpus"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert unknown.returncode == 2 and "there is no image gpus" in unknown.stderr


def own_module(name: str):
    """A module of containers/."""
    spec = importlib.util.spec_from_file_location(name, CONTAINERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("image", [image for image in IMAGES if image.torch], ids=lambda image: image.name)
def test_no_image_without_cuda_gets_the_torch_for_cuda(image, tmp_path, monkeypatch):
    """pip takes that from its own index, where the wheel that lies here is not the version of the lock."""
    build = own_module("build")
    version = lock(image.name)["torch"]
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    if image.torch == "cuda":
        build.check_torch([image], tmp_path)
        return
    for other in ("1.0.0", f"{version}0"):
        (tmp_path / f"torch-{other}+cpu-cp311-cp311-linux_x86_64.whl").touch()
    with pytest.raises(SystemExit, match=f"torch {version} for {image.name}"):
        build.check_torch([image], tmp_path)
    wheel = tmp_path / f"torch-{version}+cpu-cp311-cp311-linux_x86_64.whl"
    wheel.touch()
    build.check_torch([image], tmp_path)
    wheel.unlink()
    monkeypatch.setenv("TORCH_INDEX", "https://builds.example/cpu")
    build.check_torch([image], tmp_path)


def test_each_image_is_published_by_a_job_of_its_own():
    """No runner has the disk for all of them; what they were pushed as is put together again for the pipelines."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())["jobs"]
    assert jobs["publish"]["strategy"]["matrix"]["image"] == [image.name for image in IMAGES]
    steps = "\n".join(str(step) for step in jobs["publish"]["steps"])
    assert "make push IMAGES=${{ matrix.image }}" in steps and "digests-${{ matrix.image }}" in steps
    assert jobs["release"]["needs"] == "publish" and "digests-*" in str(jobs["release"]["steps"])


def test_digests_of_many_jobs_are_put_together(tmp_path):
    build = own_module("build")
    for number, name in enumerate(("cpu", "gpu")):
        folder = tmp_path / f"digests-{name}"
        folder.mkdir()
        (folder / "digests.json").write_text(json.dumps({f"r/hfpc-{name}:1": f"sha256:{number}"}))
    target = tmp_path / "digests.json"
    build.join_digests(tmp_path, target)
    assert json.loads(target.read_text()) == {"r/hfpc-cpu:1": "sha256:0", "r/hfpc-gpu:1": "sha256:1"}


def judged(packages: list[dict]) -> tuple[int, str]:
    return own_module("sbom").judge(packages)


def test_a_report_of_vulnerabilities_never_passes_for_what_was_not_asked():
    clean, holed = {"name": "a", "vulns": []}, {"name": "b", "vulns": [{"id": "CVE-1"}]}
    skipped = {"name": "c", "skip_reason": "no answer"}
    assert judged([clean]) == (0, "0 known vulnerabilities")
    assert judged([clean, holed]) == (1, "1 known vulnerabilities: b CVE-1")
    assert judged([skipped, skipped])[0] == 2 and "no answer" in judged([skipped])[1]
    assert judged([holed, skipped]) == (2, "1 known vulnerabilities: b CVE-1; NOT AUDITED: c")
