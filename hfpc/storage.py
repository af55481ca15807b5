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
from hfpc.errors import ArgumentError, HfpcError, MissingExtraError

_EXTRAS = {
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "google")),
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "aws")),
    **dict.fromkeys(("abfs", "abfss", "az"), ("adlfs", "azure")),
    **dict.fromkeys(("http", "https"), ("aiohttp", "local")),
}
"""Scheme to the package that reads it and the extra that brings the package."""

_STORE_PACKAGES = ("aiohttp", "azure", "botocore", "gcsfs", "google")
"""Top-level packages whose exceptions tell that a store refused or was not reached; so does OSError."""


def is_uri(location: str) -> bool:
    """Whether `location` names a store (`gs://…`, `s3://…`) and not a path of this machine."""
    return "://" in location and not location.startswith("file://")


def store_uri(location: str) -> str:
    """A location of Kubeflow or Vertex AI as other machines read it, e.g. `gs://…` for `/gcs/…`; others stay.

    Kubeflow's own store, `minio://`, speaks S3: who reads it needs its address, in `AWS_ENDPOINT_URL`.
    """
    for given, scheme in (("/gcs/", "gs://"), ("/s3/", "s3://"), ("/minio/", "s3://"), ("minio://", "s3://")):
        if location.startswith(given):
            return f"{scheme}{location.removeprefix(given)}"
    return location


def filesystem(uri: str, argument: str = "uri") -> tuple[Any, str]:
    """The fsspec file system of a URI or path, and the path inside it.

    Args:
        uri: `gs://`, `s3://`, `abfs://`, `https://`, `file://` … or a path.
        argument: Name of the argument that `uri` came from, for the error.

    Raises:
        MissingExtraError: The package for this kind of URI is not installed, and an extra brings it.
        ArgumentError: No package knows this kind of URI, or it lacks something, e.g. credentials.
    """
    import fsspec

    scheme = uri.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(uri, **_identity(scheme))
    except ImportError as error:
        if scheme not in _EXTRAS:
            raise ArgumentError(argument, uri, str(error)) from error
        raise MissingExtraError(*_EXTRAS[scheme], f"{scheme}://") from error
    except ValueError as error:
        known = scheme in fsspec.available_protocols()
        fix = f"{error}" if known else f"{error}; use gs://, s3://, abfs://, https:// or a path"
        raise ArgumentError(argument, uri, fix) from error


def _identity(scheme: str) -> dict[str, Any]:
    """What tells a file system who calls, where it does not find that itself."""
    if scheme not in ("s3", "s3a"):
        return {}
    from hfpc import aws

    session = aws.async_session()
    return {} if session is None else {"session": session}


@contextmanager
def reaching(uri: str, argument: str) -> Iterator[None]:
    """Raises ArgumentError for what a store raises in the block: no credentials, no access, no answer."""
    try:
        yield
    except HfpcError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _STORE_PACKAGES:
            raise
        reason = str(error) or type(error).__name__
        fix = f"it cannot be used ({reason}); check the spelling, your credentials and what they allow"
        raise ArgumentError(argument, uri, fix) from error


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


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8; a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.tmp")
    try:
        staging.write_text(text, encoding="utf-8")
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder of this machine, `hfpc.json` last; `target` is replaced.

    Only content is copied: a copy of read-only files can be written.
    """
    _remove(target)
    shutil.copytree(source, target, ignore=_ignore_top_manifest(source), copy_function=shutil.copyfile)
    target.chmod(0o755)
    if (source / manifest.FILE_NAME).exists():
        shutil.copyfile(source / manifest.FILE_NAME, target / manifest.FILE_NAME)


def make_folder(store: Any, path: str) -> None:
    """Makes a folder where the store has such a thing.

    An object store has none. There fsspec would make the bucket instead, also one that was mistyped.
    """
    protocols = {store.protocol} if isinstance(store.protocol, str) else set(store.protocol)
    if protocols.isdisjoint(_EXTRAS):
        store.makedirs(path, exist_ok=True)


def upload(folder: Path, uri: str, argument: str = "uri") -> None:
    """Copies a folder to a URI or path, `hfpc.json` last.

    An artifact of this library that is there already is replaced: its `hfpc.json` goes first, so
    that no reader takes a mixture of both for a whole. Anything else that is there is not touched.

    Args:
        folder: What to copy.
        uri: Where to.
        argument: Name of the argument that `uri` came from, for the error.

    Raises:
        ArgumentError: The folder has no files, the store refused, or there are files at the URI
            that neither belong to an artifact nor to this folder.
    """
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=_top_manifest_last(folder))
    if not files:
        raise ArgumentError("folder", str(folder), "there is no file in it to copy")
    with reaching(uri, argument):
        _upload(folder, files, uri, argument)


def _upload(folder: Path, files: list[Path], uri: str, argument: str) -> None:
    store, path = filesystem(uri, argument)
    root = path.rstrip("/")
    targets = {f"{root}/{file.relative_to(folder).as_posix()}": file for file in files}
    record = f"{root}/{manifest.FILE_NAME}"
    found = set(store.find(root))
    foreign = sorted(found - set(targets) - {record})
    if foreign and record not in found:
        raise ArgumentError(argument, uri, f"other files are there, e.g. {foreign[0]}: give an empty place")
    for old in [record] * (record in found) + foreign:
        store.rm_file(old)
    for target, file in targets.items():
        make_folder(store, target.rpartition("/")[0])
        store.put_file(str(file), target)


def download(uri: str, folder: Path, argument: str = "uri") -> Path:
    """Copies the folder at a URI or path into `folder`, `hfpc.json` last, and returns `folder`.

    Args:
        uri: What to copy.
        folder: Where to.
        argument: Name of the argument that `uri` came from, for the error.

    Raises:
        ArgumentError: There is nothing, or a single file, or a file whose name leads out of
            `folder`, or the store refused.
    """
    with reaching(uri, argument):
        _download(uri, folder, argument)
    return folder


def _download(uri: str, folder: Path, argument: str) -> None:
    store, path = filesystem(uri, argument)
    root = path.rstrip("/")
    # Consoles of object stores mark a folder by an empty object whose name ends with a slash.
    files = [file for file in store.find(root) if not file.endswith("/")]
    if not files:
        raise ArgumentError(argument, uri, "there is nothing at this location; check the spelling and your access")
    if files == [root]:
        raise ArgumentError(argument, uri, "this is a file; give the folder that holds it")
    targets = {folder / file.removeprefix(root).lstrip("/"): file for file in files}
    for target, file in targets.items():
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ArgumentError(argument, uri, f"it holds {file!r}, a name that leads out of the folder")
    for target in sorted(targets, key=_top_manifest_last(folder)):
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(targets[target], str(target))


def local_folder(location: str, cache: Path, argument: str = "uri") -> Path:
    """A folder of this machine with the content of `location`: itself, or a download into `cache`.

    A download is kept under the names, sizes and dates of the files it is of: what is there already
    is not fetched again, and what changed at `location` is not mixed with what was there before.

    Args:
        location: A folder, or the URI of one.
        cache: Where downloads are kept.
        argument: Name of the argument that `location` came from, for the error.

    Raises:
        ArgumentError: Nothing is there, or the store refused.
    """
    if not is_uri(location):
        return Path(location.removeprefix("file://"))
    from filelock import FileLock

    with reaching(location, argument):
        store, path = filesystem(location, argument)
        listing = sorted(map(str, store.find(path.rstrip("/"), detail=True).items()))
    target = cache / hashlib.sha256("\n".join([location, *listing]).encode()).hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            for unfinished in cache.glob(f".{target.name}-*"):  # of a process that was killed
                shutil.rmtree(unfinished)
            with publishing(target) as staging:
                download(location, staging, argument)
    return target


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


def _top_manifest_last(folder: Path) -> Any:
    return lambda file: (file == folder / manifest.FILE_NAME, file)
