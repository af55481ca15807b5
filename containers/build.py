"""Builds container images with Docker's BuildKit, and pushes them.

    python containers/build.py                 all images of hfpc/images.py
    python containers/build.py cpu serving     some of them
    python containers/build.py --push          push them too, and write build/digests.json
    python containers/build.py --digests       print what was pushed last, by digest, for cosign
    python containers/build.py --join FOLDER   put the digests.json of several machines, in folders of FOLDER, together
    python containers/build.py --print         print the commands for a shell and run nothing

Environment variables:
    HFPC_IMAGE_REPOSITORY   registry and folder of the images
    BASE_IMAGE              a Python 3.11 on Debian; default python:3.11-slim
    TORCH_INDEX             PyTorch's index of builds for CPUs, which pytorch.org names; pip's own has those for CUDA,
                            which the images for CPUs and TPUs cannot use
    DOCKER                  the Docker client; default docker
    PIP_CONFIG_FILE         a pip.conf for the build, which does not become part of the image
    PIP_CERT                certificates that the build trusts, which do not become part of the image
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from hfpc import __version__
from hfpc.images import IMAGES, REPOSITORY, Image

ROOT = Path(__file__).parent.parent
DIGESTS = ROOT / "build" / "digests.json"
WHEELS = ROOT / "containers" / "wheels"


def main() -> int:
    """Runs the command line; returns the exit status."""
    names = [image.name for image in IMAGES]
    parser = argparse.ArgumentParser(description="Build the container images.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)} (default: all)")
    parser.add_argument("--push", action="store_true", help="push them and write build/digests.json")
    parser.add_argument("--digests", action="store_true", help="print what was pushed last, as repository@digest")
    parser.add_argument("--join", type=Path, metavar="FOLDER", help="put the digests.json below FOLDER together")
    parser.add_argument("--print", action="store_true", help="print the commands and run nothing")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.join:
        join_digests(options.join)
        return 0
    if options.digests:
        for reference, found in json.loads(DIGESTS.read_text("utf-8")).items():
            print(f"{reference.rpartition(':')[0]}@{found}")
        return 0
    chosen = [image for image in IMAGES if image.name in (options.names or names)]
    if not options.print:
        take_local_torch()
        check_torch(chosen)
    commands = [build_command(image) for image in chosen]
    if options.push:
        commands += [[docker(), "push", image.reference] for image in chosen]
    for command in commands:
        print(shlex.join(command), flush=True)
        if not options.print:
            subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1"})  # noqa: S603
    if options.push and not options.print:
        DIGESTS.parent.mkdir(exist_ok=True)
        DIGESTS.write_text(json.dumps({image.reference: digest(image) for image in chosen}, indent=2) + "\n", "utf-8")
        print(f"wrote {DIGESTS.relative_to(ROOT)}")
    return 0


def join_digests(folder: Path, target: Path = DIGESTS) -> None:
    """Writes one file of what several machines have pushed."""
    joined = {}
    for file in sorted(folder.glob("*/digests.json")):
        joined |= json.loads(file.read_text("utf-8"))
    if not joined:
        sys.exit(f"--join {folder}: there is no digests.json in a folder of it")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(joined, indent=2) + "\n", "utf-8")


def build_command(image: Image) -> list[str]:
    """What builds an image."""
    arguments = {"IMAGE": image.name, "VERSION": __version__, "REVISION": revision(), "REPOSITORY": REPOSITORY}
    if base := os.environ.get("BASE_IMAGE"):
        arguments["BASE_IMAGE"] = base
    if image.torch in ("cpu", "xla") and (index := os.environ.get("TORCH_INDEX")):
        arguments["TORCH_INDEX"] = index
    secrets = {"pip_config": os.environ.get("PIP_CONFIG_FILE"), "ca_bundle": os.environ.get("PIP_CERT")}
    return [
        *(docker(), "build", "--file", "containers/Dockerfile", "--target", "server" if image.serves else "steps"),
        *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
        *(part for name, path in secrets.items() if path for part in ("--secret", f"id={name},src={path}")),
        *("--tag", image.reference, "."),
    ]


def check_torch(chosen: list[Image], wheels: Path = WHEELS) -> None:
    """Ends where an image for CPUs or TPUs would get the torch for CUDA.

    That has gigabytes more, and cannot be imported without NVIDIA's packages, which such an image lacks.
    """
    if os.environ.get("TORCH_INDEX"):
        return
    for image in chosen:
        version = locked_torch(image)
        if image.torch in ("cpu", "xla") and not list(wheels.glob(f"torch-{version}[+-]*.whl")):
            sys.exit(
                "TORCH_INDEX='': give PyTorch's index of builds for CPUs, which pytorch.org/get-started names, or put "
                f"the wheel of torch {version} for {image.name} into containers/wheels"
            )


def locked_torch(image: Image) -> str:
    """The version of torch in an image; "" for none."""
    lines = (ROOT / "containers" / "locks" / f"{image.name}.txt").read_text("utf-8").splitlines()
    return next((line.removeprefix("torch==") for line in lines if line.startswith("torch==")), "")


def take_local_torch() -> None:
    """Copies a build of torch that pip on this machine takes from a folder to where images take it from."""
    found = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    for line in found.splitlines():
        name, _, value = line.partition("=")
        for folder in shlex.split(value) if name.endswith("find-links") else []:
            for place in folder.split():
                for wheel in Path(place.removeprefix("file://")).glob("torch-*+cpu-*.whl"):
                    if not (WHEELS / wheel.name).exists():
                        shutil.copy(wheel, WHEELS)


def revision() -> str:
    """The commit that is built, with `-dirty` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],  # noqa: S607
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return described.stdout.strip() or "unknown"


def docker() -> str:
    """The Docker client."""
    return os.environ.get("DOCKER") or "docker"


def digest(image: Image) -> str:
    """The digest that the registry gave a pushed image: `sha256:…`."""
    inspected = subprocess.run(  # noqa: S603
        [docker(), "image", "inspect", "--format", "{{json .RepoDigests}}", image.reference],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    repository = image.reference.rpartition(":")[0]
    return next(
        found.rpartition("@")[2] for found in json.loads(inspected.stdout) if found.rpartition("@")[0] == repository
    )


if __name__ == "__main__":
    sys.exit(main())
