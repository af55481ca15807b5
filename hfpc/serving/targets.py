"""What a server is told to serve, as a model folder of this machine: it is downloaded where it is elsewhere."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from hfpc import manifest, storage
from hfpc import registry as local_registry
from hfpc.errors import ArgumentError
from hfpc.home import home

_FORMS = (
    "give a model folder that exists, NAME@ALIAS, NAME@VERSION, a URI (gs://, s3://, abfs://) "
    "or a Hub id (OWNER/NAME or OWNER/NAME@REVISION)"
)
_HUB = re.compile(r"(?P<name>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""Configuration and tokenizer."""

_MODEL_FILES = (manifest.FILE_NAME, "config.json")
"""One of these is in every model folder: one of this library, or as Transformers saves it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model to serve.

    Attributes:
        kind: Where it is.
        text: How it was named; a folder's absolute path.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
    """

    kind: Literal["folder", "registered", "uri", "hub"]
    text: str
    registry: str = ""

    @property
    def fixed(self) -> bool:
        """Whether it means the same model as long as the server runs: what was downloaded is not followed."""
        return self.kind in ("uri", "hub")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model on this machine.

    Attributes:
        folder: Where its files are.
        name: What it is called: the target itself, or the last part of a path or a URI.
        version: Its version in the registry or its commit SHA on the Hub; "" for a folder or a URI.
        fingerprint: SHA-256 of its files.
    """

    folder: Path
    name: str
    version: str
    fingerprint: str


def parse(text: str, registry: str = "") -> Target:
    """The target that `text` means. Nothing outside this machine is asked yet.

    Args:
        text: A model folder, `NAME@ALIAS`, `NAME@VERSION`, a URI or a Hub id, `hf://` before it or not.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: It is none of these, or the registry has no such model.
        DataError: The folder holds no model.
        ModelError: The folder holds a model that cannot be served.
    """
    place = text.removeprefix("file://").removeprefix("hf://")
    if place and Path(place).is_dir():
        target = Target(kind="folder", text=str(Path(place).absolute()))
    elif place.startswith(("http://", "https://")):
        raise ArgumentError("target", text, f"a web server does not list the files of a folder: {_FORMS}")
    elif storage.is_uri(place):
        target = Target(kind="uri", text=place)
    elif _HUB.fullmatch(place):
        target = Target(kind="hub", text=place)
    elif "@" in place and "/" not in place:
        target = Target(kind="registered", text=place, registry=registry)
    else:
        raise ArgumentError("target", text, _FORMS if text else f"no platform names a model here: {_FORMS}")
    if not target.fixed:
        find(target)
    return target


def find(target: Target) -> Found:
    """The model that a target means now, downloaded if it is not on this machine yet.

    Downloads from a store are kept in `$HFPC_HOME/models`, those from the Hub in its own cache.

    Raises:
        ArgumentError: There is no such model, or the store or the Hub does not give it.
        MissingExtraError: The package for this kind of URI is not installed.
        DataError: It is no model.
        ModelError: It is a model that cannot be served.
    """
    if target.kind == "uri":
        folder, version = _from_store(target.text), ""
    elif target.kind == "hub":
        folder = _from_hub(target.text)
        version = folder.name
    else:
        folder = local_registry.locate(target.text, target.registry)
        version = folder.name if target.kind == "registered" else ""
    is_path = target.kind in ("folder", "uri")
    name = target.text.rstrip("/").rpartition("/")[2] if is_path else target.text
    return Found(folder=folder, name=name, version=version, fingerprint=local_registry.fingerprint(folder))


def _from_store(uri: str) -> Path:
    """What is no model is told before it is downloaded."""
    with storage.reaching(uri, "target"):
        store, path = storage.filesystem(uri, "target")
        names = {file.rpartition("/")[2] for file in store.ls(path, detail=False)}
    if names.isdisjoint(_MODEL_FILES):
        raise ArgumentError("target", uri, f"there is no {' and no '.join(_MODEL_FILES)}: give the folder of a model")
    return storage.local_folder(uri, home() / "models", "target")


def _from_hub(target: str) -> Path:
    """The files that serving reads, never pickles, at the commit that the revision means now: the folder's name."""
    parts = _HUB.fullmatch(target)
    assert parts is not None
    folder = _snapshot(target, parts["revision"], _MODEL_FILES)
    if not any((folder / name).is_file() for name in _MODEL_FILES):
        raise ArgumentError("target", target, f"it has no {' and no '.join(_MODEL_FILES)}: give the Hub id of a model")
    recorded = (folder / manifest.FILE_NAME).is_file()
    kept = manifest.read(folder, "model").optimization if recorded else None
    weights = f"{PurePosixPath(kept.file).with_suffix('')}.*" if kept and kept.file else "*.safetensors"
    return _snapshot(target, folder.name, (*_HUB_FILES, weights))


def _snapshot(target: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # bars that redraw themselves fill a server's log
    try:
        return Path(snapshot_download(target.partition("@")[0], revision=revision, allow_patterns=list(patterns)))
    except RevisionNotFoundError as error:
        raise ArgumentError("target", target, f"the Hub has this model, but no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        fix = (
            "there is no such folder, and the Hub has no such model, or it is private or gated and HF_TOKEN is missing"
        )
        raise ArgumentError("target", target, fix) from error
    except LocalEntryNotFoundError as error:
        fix = "it is neither a folder here nor in the Hub's cache, and the Hub cannot be reached (HF_HUB_OFFLINE?)"
        raise ArgumentError("target", target, fix) from error
    except (OSError, httpx.HTTPError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        fix = f"it cannot be downloaded ({reason}): see that the Hub answers and the folder HF_HOME can be written"
        raise ArgumentError("target", target, fix) from error
