"""A model's folder in any store: what it says of itself, and a copy where a platform can read it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hfpc import golden, manifest, storage
from hfpc.errors import ArgumentError
from hfpc.manifest import Manifest


@contextmanager
def described(model: str, argument: str = "model") -> Iterator[Path]:
    """A folder with what a model says of itself: its `hfpc.json`, and its golden requests where it has any.

    Args:
        model: Path or URI of the model's folder, whose other files are not fetched.
        argument: Name of the argument that `model` came from, for the error.

    Raises:
        ArgumentError: The store refused, or there is no such folder.
    """
    if not storage.is_uri(model):
        yield Path(model)
        return
    with storage.reaching(model, argument), tempfile.TemporaryDirectory() as scratch:
        store, path = storage.filesystem(model, argument)
        store.get_file(f"{path.rstrip('/')}/{manifest.FILE_NAME}", f"{scratch}/{manifest.FILE_NAME}")
        with suppress(FileNotFoundError):
            store.get_file(f"{path.rstrip('/')}/{golden.FILE_NAME}", f"{scratch}/{golden.FILE_NAME}")
        yield Path(scratch)


def record(model: str, argument: str = "model") -> Manifest:
    """The `hfpc.json` of a model's folder.

    Args:
        model: Path or URI of the folder.
        argument: Name of the argument that `model` came from, for the error.

    Raises:
        ArgumentError: The store refused, or there is no such folder.
        DataError: It is not a model of this library.
    """
    with described(model, argument) as folder:
        return manifest.read(folder, "model")


def staged(model: str, fingerprint: str, staging_uri: str, schemes: tuple[str, ...]) -> str:
    """The URI of a model's folder, copied under `staging_uri` once if it lies where the platform cannot read it.

    Args:
        model: Path or URI of the folder.
        fingerprint: The model's fingerprint, which names the copy.
        staging_uri: Folder for copies.
        schemes: What the platform reads, e.g. `("gs://",)`.

    Raises:
        ArgumentError: It lies elsewhere and there is no `staging_uri`, or the store refused.
    """
    if (uri := storage.store_uri(model)).startswith(schemes):
        return uri.rstrip("/")
    if not staging_uri:
        fix = f"the model lies at {model}, which the platform cannot read: give a folder, {'… or '.join(schemes)}…"
        raise ArgumentError("staging_uri", staging_uri, fix)
    uri = f"{staging_uri.rstrip('/')}/{fingerprint}"
    with storage.reaching(uri, "staging_uri"):
        store, path = storage.filesystem(uri, "staging_uri")
        if store.exists(f"{path}/{manifest.FILE_NAME}"):  # it is written last
            return uri
    with tempfile.TemporaryDirectory(prefix="hfpc-staging-") as scratch:
        storage.upload(storage.local_folder(model, Path(scratch), "model"), uri, "staging_uri")
    return uri
