"""Files and folders by URI, through fsspec; artifact folders appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfpc import manifest
from hfpc.errors import ArgumentError, MissingExtraError

_EXTRAS = {"gs": "google", "gcs": "google", "s3": "aws", "s3a": "aws", "abfs": "azure", "abfss": "azure", "az": "azure"}


def is_uri(location: str) -> bool:
    """Whether `location` names a store (`gs://…`, `s3://…`) and not a path of this machine."""
    return "://" in location and not location.startswith("file://")


def filesystem(uri: str, argument: str = "uri") -> tuple[Any, str]:
    """The fsspec file system of a URI or path, and the path inside it.

    Args:
        uri: `gs://`, `s3://`, `abfs://`, `https://`, `file://` … or a path.
        argument: Name of the argument that `uri` came from, for the error.

    Raises:
        MissingExtraError: The package for this kind of URI is not installed.
        ArgumentError: No package knows this kind of URI.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(uri)
    except ImportError as error:
        scheme = uri.partition("://")[0]
        package = error.name or "a package"
        raise MissingExtraError(package, _EXTRAS.get(scheme, "local"), f"{scheme}://") from error
    except ValueError as error:
        raise ArgumentError(argument, uri, f"{error}; use gs://, s3://, abfs://, https:// or a path") from error


@contextmanager
def publishing(out: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, and moves it to `out` only when the block ends well.

    On a file system mounted from an object store, where renaming a folder is not atomic, the
    files are copied with `hfpc.json` last, so that an unfinished folder can be told by its absence.
    The folder is made on the machine's own disk then, which is also many times faster.

    Args:
        out: The artifact folder to make. What it held before is replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    mounted = out.is_absolute() and out.parts[1] in ("gcs", "s3", "minio")
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=None if mounted else out.parent))
    try:
        yield staging
        staging.chmod(0o755)
        if mounted:
            copy_folder(staging, out)
        else:
            _remove(out)
            os.replace(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder of this machine, `hfpc.json` last; `target` is replaced."""
    _remove(target)
    shutil.copytree(source, target, ignore=_ignore_top_manifest(source))
    if (source / manifest.FILE_NAME).exists():
        shutil.copy2(source / manifest.FILE_NAME, target / manifest.FILE_NAME)


def upload(folder: Path, uri: str) -> None:
    """Copies a folder to a URI or path, `hfpc.json` last."""
    store, path = filesystem(uri)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    files.sort(key=lambda file: file == folder / manifest.FILE_NAME)
    for file in files:
        target = f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}"
        store.makedirs(store._parent(target), exist_ok=True)
        store.put_file(str(file), target)


def download(uri: str, folder: Path) -> Path:
    """Copies the folder at a URI or path into `folder` and returns it.

    Raises:
        ArgumentError: Nothing is there.
    """
    store, path = filesystem(uri)
    files = store.find(path)
    if not files:
        raise ArgumentError("uri", uri, "there is nothing at this location; check the spelling and your access")
    root = store._strip_protocol(path).rstrip("/")
    for file in files:
        target = folder / file.removeprefix(root).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(file, str(target))
    return folder


def local_folder(location: str, cache: Path) -> Path:
    """A folder of this machine with the content of `location`: itself, or a download into `cache`."""
    if not is_uri(location):
        return Path(location.removeprefix("file://"))
    target = cache / hashlib.sha256(location.encode()).hexdigest()[:16]
    return download(location, target)


def fingerprint(files: list[Path], root: Path) -> str:
    """SHA-256 over the names, relative to `root`, and the content of files."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _ignore_top_manifest(source: Path) -> Any:
    return lambda folder, names: [manifest.FILE_NAME] if Path(folder) == source and manifest.FILE_NAME in names else []
