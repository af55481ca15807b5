"""Containers of the images that `make test-docker` has built."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfpc import images

USER = 10001  # of the images


def docker(*arguments: str, seconds: float = 120) -> str:
    """What a command of the Docker client prints; its errors are the test's."""
    done = subprocess.run(
        [os.environ.get("DOCKER") or "docker", *arguments], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def inside(image: str, script: str, *options: str) -> str:
    """What a shell script prints in a container that may do as little as a pod under the restricted standard."""
    return docker("run", "--rm", "--network=none", *RESTRICTED, *options, image, "sh", "-c", script)


RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def configuration(image: str) -> dict[str, Any]:
    return json.loads(docker("image", "inspect", image))[0]


def until_healthy(container: str, seconds: float = 180) -> None:
    """Waits for Docker's own health check to say so."""
    end = time.monotonic() + seconds
    while (state := json.loads(docker("inspect", "--format", "{{json .State}}", container)))["Health"][
        "Status"
    ] != "healthy":
        assert state["Running"], docker("logs", container)
        assert time.monotonic() < end, f"{state['Health']}\n{docker('logs', container)}"
        time.sleep(1)


@pytest.fixture
def serving() -> Iterator[Any]:
    """Starts containers of the serving image, and removes them in the end; a call gives its id and URL."""
    started = []

    def start(model: Path | None, *command: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
        mount = () if model is None else (f"--volume={model}:/opt/ml/model:ro",)
        container = docker(
            *("run", "--detach", *RESTRICTED, "--publish=127.0.0.1::8080", *mount, *options, images.SERVING, *command)
        )
        started.append(container)
        until_healthy(container)
        return container, f"http://{docker('port', container, '8080/tcp').splitlines()[0]}"

    yield start
    for container in started:
        docker("rm", "--force", container)


def readable(folder: Path) -> Path:
    """A folder, and those that it lies in, that the user of the images can read."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o055)
    return folder
