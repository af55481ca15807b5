"""Is this machine ready? Checks that change nothing; each finding is one line, with its fix."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import hfpc
from hfpc.errors import ArgumentError
from hfpc.home import home

DISTRIBUTION = "hf-pipeline-components"
_EXTRAS = {
    "serve": "serving models that optimize exported",
    "local": "training, evaluation and serving on this machine",
    "optimize": "making models faster",
    "samples": "the embedded model and data",
    "google": "gs:// and Vertex AI",
    "aws": "s3:// and SageMaker",
    "azure": "abfs://",
    "kubeflow": "KServe, Kubeflow Trainer and Model Registry",
}
_LEAST_DISK = 5 << 30  # a base-sized model with its checkpoints
_LEAST_MEMORY = 2 << 30  # what fine-tuning MiniLM takes
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: What was looked at.
        found: What is there.
        level: "problem" where something will fail, "note" where only an option is missing.
        fix: What to do about it, "" for nothing.
    """

    what: str
    found: str
    level: Literal["ok", "note", "problem"] = "ok"
    fix: str = ""


def examine() -> list[Finding]:
    """Everything there is to know, in the order in which to mend it."""
    return [_python(), *_packages(), *_torch(), *_space(), *_access(), *_programs()]


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    wanted, version = metadata.metadata(DISTRIBUTION)["Requires-Python"], platform.python_version()
    if version in SpecifierSet(wanted, prereleases=True):
        return Finding(what="Python", found=version)
    return Finding(what="Python", found=version, level="problem", fix=f"use Python {wanted}")


def _packages() -> Iterator[Finding]:
    """Installed packages against the ranges that this package declares, an extra at a time."""
    yield from _requirements("core", what=f"hfpc {hfpc.__version__}")
    for extra, purpose in _EXTRAS.items():
        yield from _requirements(extra, what=f"extra {extra} ({purpose})")


def _requirements(extra: str, what: str) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    core = extra == "core"
    requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    # With "" as the extra a marker is true for what is always needed.
    always = [item for item in requirements if not item.marker or item.marker.evaluate({"extra": ""})]
    own = always if core else [item for item in requirements if item not in always and _is_of(extra, item.marker)]
    missing, wrong = [], []
    for item in own:
        try:
            version = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            missing.append(item.name)
            continue
        # "2.9.0+cpu" is torch's own spelling of a build of 2.9.0.
        if not item.specifier.contains(version.partition("+")[0], prereleases=True):
            wrong.append(f"{item.name} {version} (supported: {item.specifier})")
    install = f"pip install '{DISTRIBUTION}{'' if core else f'[{extra}]'}'"
    if wrong:
        yield Finding(what=what, found="; ".join(wrong), level="problem", fix=install)
    elif missing:
        level: Literal["note", "problem"] = "problem" if core or len(missing) < len(own) else "note"
        found = f"{', '.join(missing)} not installed"
        yield Finding(what=what, found=found, level=level, fix=install)
    else:
        yield Finding(what=what, found=f"{len(own)} packages in their supported versions")


def _is_of(extra: str, marker: object) -> bool:
    from packaging.markers import Marker

    return isinstance(marker, Marker) and marker.evaluate({"extra": extra})


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return
    threads = f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding(what="device", found=", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding(what="device", found="Apple GPU (MPS)")
    elif shutil.which("nvidia-smi"):
        fix = "install the torch build for your CUDA version"
        yield Finding(what="device", found="an NVIDIA GPU that torch cannot use", level="problem", fix=fix)
    else:
        yield Finding(what="device", found=f"CPU, {threads}")


def _space() -> Iterator[Finding]:
    import psutil

    kept = _home()
    place = next(folder for folder in (kept, *kept.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / _GIB:.0f} GiB free at {kept}"
    fix = "" if free >= _LEAST_DISK else "make room, or set HFPC_HOME to a folder on a larger disk"
    yield Finding(what="disk", found=found, level="problem" if fix else "ok", fix=fix)
    available = psutil.virtual_memory().available
    fix = "" if available >= _LEAST_MEMORY else "close other programs, or use a smaller base model and batch_size"
    yield Finding(
        what="memory", found=f"{available / _GIB:.1f} GiB available", level="problem" if fix else "ok", fix=fix
    )


def _access() -> Iterator[Finding]:
    cache = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    for what, folder, variable in (("HFPC_HOME", _home(), "HFPC_HOME"), ("Hugging Face cache", cache, "HF_HOME")):
        if _is_writable(folder):
            yield Finding(what=what, found=str(folder))
        else:
            fix = f"set {variable} to a folder that can be written"
            yield Finding(what=what, found=f"{folder} cannot be written", level="problem", fix=fix)
    if os.environ.get("HF_TOKEN") or (cache / "token").exists():
        yield Finding(what="HF_TOKEN", found="set")
    else:
        fix = "needed for private and gated models only: export HF_TOKEN=…"
        yield Finding(what="HF_TOKEN", found="not set", level="note", fix=fix)
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        yield Finding(what="Hugging Face Hub", found="offline (HF_HUB_OFFLINE=1)", level="note")


def _home() -> Path:
    """The folder of `hfpc`, also where it cannot be used: a check tells that."""
    try:
        return home()
    except ArgumentError as error:
        return Path(error.value).absolute()


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest parent that exists."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _programs() -> Iterator[Finding]:
    for names, purpose in ((("docker",), "building images"), (("chromium", "google-chrome"), "tests of the report")):
        found = next(filter(None, map(shutil.which, names)), None)
        if found:
            yield Finding(what=names[0], found=found)
        else:
            yield Finding(what=names[0], found="not found", level="note", fix=f"needed for {purpose} only")
