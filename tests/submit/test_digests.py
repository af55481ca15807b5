"""Compiled files name our images by digest, as the registry or a file says."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from hfpc import images
from hfpc.errors import ArgumentError
from hfpc.submit.compile import compile_pipeline
from hfpc.submit.digests import digests, from_registry, pin

ROOT = Path(__file__).parents[2]
DIGESTS = {image.reference: f"sha256:{number:064x}" for number, image in enumerate(images.IMAGES)}
CPU = f"{images.CPU.rpartition(':')[0]}@{DIGESTS[images.CPU]}"


@pytest.fixture
def compiled(tmp_path) -> Path:
    compile_pipeline("finetune_local", "kubeflow", tmp_path / "pipeline.yaml")
    return tmp_path / "pipeline.yaml"


def images_of(file: Path) -> set[str]:
    spec = next(yaml.safe_load_all(file.read_text()))
    return {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}


def test_every_step_runs_the_digest(compiled):
    steps = compiled.read_text().count(images.CPU)
    assert pin(compiled, DIGESTS) == steps > 5
    assert images_of(compiled) == {CPU}
    assert pin(compiled, DIGESTS) == 0  # and again changes nothing
    assert images_of(compiled) == {CPU}


def test_only_our_images_with_just_this_tag_are_pinned(tmp_path):
    others = [f"{images.CPU}.dev1", f"{images.CPU}@sha256:{'a' * 64}", "python:3.11-slim", f"{images.CPU}-rc"]
    (tmp_path / "file.yaml").write_text("\n".join([images.CPU, f"'{images.CPU}'", *others]))
    assert pin(tmp_path / "file.yaml", DIGESTS) == 2
    assert (tmp_path / "file.yaml").read_text().split("\n") == [CPU, f"'{CPU}'", *others]


def test_an_image_that_was_not_pushed_is_an_error_and_changes_nothing(compiled):
    before = compiled.read_text()
    with pytest.raises(ArgumentError, match=r"pipeline\.yaml runs this image, whose digest is not among those given"):
        pin(compiled, {images.SERVING: DIGESTS[images.SERVING]})
    assert compiled.read_text() == before


@pytest.mark.parametrize("content", ["", "[]", '{"image:1": "sha256:12"}', '{"image:1": null}'])
def test_a_file_that_holds_no_digests(tmp_path, content):
    (tmp_path / "digests.json").write_text(content)
    with pytest.raises(ArgumentError, match="pin_digests"):
        digests(str(tmp_path / "digests.json"))
    with pytest.raises(ArgumentError, match="cannot be read"):
        digests(str(tmp_path / "no-such-file.json"))


def test_compile_py_pins_everything_it_writes(tmp_path):
    (tmp_path / "digests.json").write_text(json.dumps(DIGESTS))
    command = [sys.executable, "compile.py", "--pin-digests", tmp_path / "digests.json", "--output", tmp_path / "out"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    files = list((tmp_path / "out").rglob("*.yaml"))
    assert len(files) > 20
    for file in files:
        assert all("@sha256:" in image for image in images_of(file) if "/hfpc-" in image), file
    (tmp_path / "digests.json").write_text("{}")
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert refused.returncode == 1
    assert refused.stderr.startswith("pin_digests=") and refused.stderr.count("\n") == 1


class Registry(http.server.BaseHTTPRequestHandler):
    """The part of the registries' HTTP API V2 that tells a digest."""

    def do_HEAD(self):
        name, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        status = {"here:1": 200, "hidden:1": 401, "bare:1": 200}.get(f"{name}:{tag}", 404)
        self.send_response(status)
        if name == "here":
            self.send_header("Docker-Content-Digest", "sha256:" + "b" * 64)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_registry_is_asked(registry):
    assert from_registry([f"{registry}/here:1", f"{registry}/absent:1"]) == {f"{registry}/here:1": "sha256:" + "b" * 64}


@pytest.mark.parametrize("name", ["hidden", "bare"])
def test_a_registry_that_does_not_tell(registry, name):
    with pytest.raises(ArgumentError, match=f"{name}:1 has no digest there"):
        from_registry([f"{registry}/{name}:1"])


def test_a_registry_that_cannot_be_reached(registry):
    with pytest.raises(ArgumentError, match="cannot be reached"):
        from_registry(["127.0.0.1:1/here:1"])
