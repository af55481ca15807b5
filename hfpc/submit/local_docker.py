"""Local runs whose tasks are containers: what they may see and do, and their end.

A container has the folder `$HFPC_HOME` at its own path, where the run and the local registry are, and the
current folder for reading. Everything else it writes is in memory and gone with it. It has no rights beyond an
ordinary user's, and no network where that is asked for.
"""

import os
from pathlib import Path
from typing import Any

from hfpc.errors import ArgumentError, HfpcError, MissingExtraError
from hfpc.home import home
from hfpc.submit.graph import Graph

_LABEL = "hfpc.run"
_USER = 10001  # of our images: see containers/Dockerfile
_PASSED_ON = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")
_SHARED_MEMORY = "1g"  # Docker's own 64 MB are too little for PyTorch's loaders
_SHALLOWEST = 3  # parts of a path: a folder such as /usr or /tmp is not laid over the image's own


def check(graph: Graph) -> None:
    """Refuses what would fail once the run has started.

    Raises:
        MissingExtraError: The Docker client for Python is missing.
        HfpcError: No Docker engine answers.
        ArgumentError: An image is not on this machine, or the current folder is not one to show to containers.
    """
    _check_folder()
    client = _client()
    try:
        known = {tag for image in client.images.list() for tag in (*image.tags, *image.attrs.get("RepoDigests", []))}
    finally:
        client.close()
    for step in graph.steps:
        image = step.executor["container"]["image"] if step.function else ""
        if image and image not in known:
            fix = f"this image is not on this machine: docker pull {image}, or build it with make images"
            raise ArgumentError("docker", image, fix)


def _check_folder() -> None:
    """Refuses the user's own folder and what lies above it: there are keys, tokens and the histories of shells."""
    here, own = Path.cwd().resolve(), Path.home().resolve()
    if here != home().resolve() and len(here.parts) >= _SHALLOWEST and own.is_relative_to(here):
        fix = (
            "containers would read all that lies there, such as keys and tokens: run this in the folder of your project"
        )
        raise ArgumentError("docker", str(here), fix)


def container_arguments(run_folder: Path, environment: dict[str, str], network: bool) -> dict[str, Any]:
    """What kfp.local's DockerRunner hands to Docker.

    Args:
        run_folder: The run's folder, below `$HFPC_HOME`.
        environment: Environment variables of every container.
        network: Whether the containers have a network.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    arguments: dict[str, Any] = {
        "user": f"{_user()}:{_group()}",
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108 (a file system of the container's own)
        "shm_size": _SHARED_MEMORY,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "labels": {_LABEL: run_folder.name},
        "environment": {**passed, "HFPC_HOME": str(home()), **environment},
        "mounts": [_bind(home())],
    }
    here = Path.cwd()
    if here != home() and len(here.parts) >= _SHALLOWEST:
        arguments["mounts"] += [_bind(here, read_only=True)]
        arguments["working_dir"] = str(here)
    return arguments if network else {**arguments, "network_mode": "none"}


def give(run_folder: Path) -> None:
    """Lets the user of the containers write `$HFPC_HOME`, past runs aside, where root runs them."""
    if os.getuid():
        return
    for folder, folders, files in os.walk(home()):
        if Path(folder) == run_folder.parent:
            folders[:] = [run_folder.name]
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, _USER, _USER, follow_symlinks=False)


def end(run_folder: Path) -> None:
    """Removes every container of a run that is still there."""
    from docker.errors import DockerException, NotFound  # type: ignore[import-untyped]

    client = _client()
    try:
        for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={run_folder.name}"}):
            try:
                container.remove(force=True)
            except NotFound:
                continue
    except DockerException as error:
        raise HfpcError(f"Docker did not remove the containers of {run_folder.name}: {error}") from error
    finally:
        client.close()


def _user() -> int:
    """Root's containers do not run as root."""
    return os.getuid() or _USER


def _group() -> int:
    return os.getgid() if os.getuid() else _USER


def _bind(folder: Path, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(folder), "Target": str(folder), "ReadOnly": read_only}


def _client() -> Any:
    try:
        import docker  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("docker", "local", "--docker") from error
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise HfpcError(f"no Docker engine answers ({error}): start one, or run without --docker") from error
    return client
