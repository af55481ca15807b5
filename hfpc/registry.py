"""The local registry: a folder with numbered versions of models, and aliases such as `champion`.

    <registry>/<name>/versions/<N>/    a model folder, never changed once it is there
    <registry>/<name>/aliases.json     alias to the version it names and the one it named before

Several processes may use a registry at once: writers of a name take turns by a lock file that the
operating system frees when its holder dies, and what they write appears by one rename. So a reader
needs no lock, and a crash at any moment leaves the registry as it was before or after.
"""

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hfpc import manifest, storage
from hfpc.errors import ArgumentError, DataError, ModelError
from hfpc.home import home
from hfpc.inference.plain_model import manifest_of
from hfpc.manifest import Manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_ALIASES = "aliases.json"
_CARD = "README.md"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered version of a model.

    Attributes:
        name: Name of the model.
        version: Its number, "1" for the first.
        folder: The model folder.
        manifest: Its `hfpc.json`.
        aliases: The aliases that name it, in alphabetical order.
    """

    name: str
    version: str
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Alias:
    """What an alias names.

    Attributes:
        version: The version it names.
        previous: The version it named before; "" for none.
    """

    version: str
    previous: str


def folder(registry: str = "") -> Path:
    """The folder of a registry, whether it exists or not.

    Args:
        registry: A path; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: It is a URI: renaming a folder is not atomic in object stores.
    """
    if storage.is_uri(registry):
        raise ArgumentError("registry", registry, "give a folder of this machine, or leave it empty")
    return Path(registry.removeprefix("file://")).expanduser().absolute() if registry else home() / "registry"


def find(reference: str, registry: str = "") -> Path | None:
    """The model folder that `NAME@ALIAS` or `NAME@VERSION` names; None where there is none yet.

    Args:
        reference: E.g. "tweets@champion" or "tweets@3".
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: `reference` is not of this form.
        DataError: The alias names a version that somebody removed.
    """
    check_reference(reference)
    name, _, wanted = reference.partition("@")
    if _VERSION.fullmatch(wanted):
        place = version_folder(name, wanted, registry)
        return place if place.is_dir() else None
    alias = aliases(name, registry).get(wanted)
    if alias is None:
        return None
    place = version_folder(name, alias.version, registry)
    if not place.is_dir():
        raise DataError(f"{reference} names version {alias.version}, but {place} is gone: deploy another version")
    return place


def locate(target: str, registry: str = "") -> Path:
    """The model folder that `target` means now.

    Args:
        target: A model folder, `NAME@ALIAS` or `NAME@VERSION`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.

    Raises:
        ArgumentError: There is no such model.
    """
    if Path(target).is_dir():
        return Path(target).absolute()
    if "@" not in target or "/" in target:
        raise ArgumentError("target", target, "give a model folder that exists, NAME@ALIAS or NAME@VERSION")
    found = find(target, registry)
    if found is None:
        name = target.partition("@")[0]
        known = [f"{name}@{end}" for end in [*aliases(name, registry), *map(str, sorted(_numbers(name, registry)))]]
        fix = f"there is no such model in {folder(registry)}: " + (
            f"give one of {', '.join(known)}" if known else "register and deploy one first"
        )
        raise ArgumentError("target", target, fix)
    return found


def version_folder(name: str, version: str, registry: str = "") -> Path:
    """Where a version is kept, whether it exists or not."""
    return folder(registry) / name / "versions" / version


def aliases(name: str, registry: str = "") -> dict[str, Alias]:
    """The aliases of a model; empty where the model is unknown.

    Raises:
        DataError: Their file was damaged.
    """
    file = folder(registry) / name / _ALIASES
    try:
        return {alias: Alias(**entry) for alias, entry in json.loads(file.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file} cannot be read ({error}): remove it and deploy again") from error


def versions(registry: str = "") -> list[Version]:
    """Every version of every model: by name, the newest first. One that is damaged is left out with a warning."""
    found = []
    for models in sorted(folder(registry).glob("*/versions")):
        name = models.parent.name
        try:
            named = aliases(name, registry)
        except DataError as error:
            _log.warning("%s", error)
            named = {}
        for number in sorted(_numbers(name, registry), reverse=True):
            place = version_folder(name, str(number), registry)
            own = tuple(sorted(alias for alias, entry in named.items() if entry.version == str(number)))
            try:
                content = manifest.read(place, "model")
            except DataError as error:
                _log.warning("version %s of %s is left out: %s", number, name, error)
                continue
            found.append(Version(name=name, version=str(number), folder=place, manifest=content, aliases=own))
    return found


def register(model: Path, *, name: str, registry: str = "", metrics: Mapping[str, float] | None = None) -> str:
    """Copies a model into the registry as a new version and returns the version's number.

    A model with the fingerprint of a version that is there already gives that version, unchanged.

    Args:
        model: A model folder.
        name: Name of the model: letters, digits, `-`, `_`, `.`.
        registry: Folder of the registry; "" means `$HFPC_HOME/registry`.
        metrics: Added to the metrics in the copy's `hfpc.json` and on its model card.

    Raises:
        ArgumentError: `name` or `registry` cannot be used.
        DataError: `model` is not a model folder of this library.
        ModelError: The copy differs from the model.
    """
    check_name(name)
    record = manifest.read(model, "model")
    own = fingerprint(model)
    with _writing(name, registry):
        for number in sorted(_numbers(name, registry)):
            if _holds(version_folder(name, str(number), registry), own):
                return str(number)
        taken = {int(entry.version) for entry in aliases(name, registry).values()}
        version = str(max(_numbers(name, registry) | taken, default=0) + 1)
        with storage.publishing(version_folder(name, version, registry)) as staging:
            storage.copy_folder(model, staging)
            _verify(model, staging)
            _add_metrics(record, metrics or {}, staging)
            _sync(staging)
    return version


def move_alias(name: str, alias: str, version: str, registry: str = "") -> tuple[Alias, bool]:
    """Makes an alias name a version; returns what it names now and named before, and whether it moved.

    Moving it to where it is changes nothing, not even what it named before.

    Raises:
        ArgumentError: The alias or the version cannot be used.
    """
    check_name(name)
    check_alias(alias)
    check_version(name, version, registry)
    with _writing(name, registry):
        entries = aliases(name, registry)
        current = entries.get(alias)
        moved = current is None or current.version != version
        if moved:
            entries[alias] = Alias(version=version, previous=current.version if current else "")
            _write_aliases(name, entries, registry)
    return entries[alias], moved


def restore_alias(name: str, alias: str, version: str, previous: str, registry: str = "") -> None:
    """Moves an alias from `version` back to `previous`, or removes it where that is "".

    An alias that no longer names `version` was moved by somebody else since, and stays.
    """
    with _writing(name, registry):
        entries = aliases(name, registry)
        current = entries.pop(alias, None)
        if current is None or current.version != version:
            return
        if previous:
            entries[alias] = Alias(version=previous, previous="")
        _write_aliases(name, entries, registry)


def fingerprint(model: Path) -> str:
    """The fingerprint of a model folder: as its `hfpc.json` records it, or made of the files of a plain one.

    Raises:
        DataError: It is no model folder.
        ModelError: It is a plain model that is for no task of this library.
    """
    record = manifest_of(model).model
    assert record is not None
    return record.fingerprint


def check_name(name: str) -> None:
    """Raises ArgumentError unless `name` can name a model."""
    if not _NAME.fullmatch(name):
        fix = "use letters, digits, '-', '_' and '.', at most 100, a letter or digit first"
        raise ArgumentError("name", name, fix)


def check_reference(reference: str, argument: str = "reference") -> None:
    """Raises ArgumentError unless `reference`, the value of `argument`, is NAME@ALIAS or NAME@VERSION."""
    name, _, wanted = reference.partition("@")
    if not _NAME.fullmatch(name) or not (_VERSION.fullmatch(wanted) or _ALIAS.fullmatch(wanted)):
        raise ArgumentError(argument, reference, "give NAME@ALIAS or NAME@VERSION, e.g. tweets@champion or tweets@3")


def check_alias(alias: str) -> None:
    """Raises ArgumentError unless `alias` can be an alias; a number could not be told from a version."""
    if not _ALIAS.fullmatch(alias):
        fix = "use letters, digits, '-', '_' and '.', at most 100, a letter first"
        raise ArgumentError("alias", alias, fix)


def check_version(name: str, version: str, registry: str = "") -> None:
    """Raises ArgumentError unless the model has this version."""
    if not _VERSION.fullmatch(version) or not version_folder(name, version, registry).is_dir():
        raise ArgumentError("version", version, f"{name} has no such version in {folder(registry)}")


@contextmanager
def _writing(name: str, registry: str) -> Iterator[None]:
    """Waits for the turn to write; what an earlier writer left when it was killed is removed."""
    from filelock import FileLock

    place = folder(registry) / name
    (place / "versions").mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        for unfinished in (place / "versions").glob(".*"):
            shutil.rmtree(unfinished)
        yield


def _numbers(name: str, registry: str) -> set[int]:
    places = (folder(registry) / name / "versions").glob("*")
    return {int(place.name) for place in places if _VERSION.fullmatch(place.name)}


def _holds(place: Path, wanted: str) -> bool:
    """Whether a version is the model with this fingerprint; a damaged one is none."""
    try:
        return fingerprint(place) == wanted
    except DataError as error:
        _log.warning("a damaged version is passed over: %s", error)
        return False


def _verify(model: Path, copy: Path) -> None:
    """Reads both folders again, so that a disk's fault is found before the version can be used."""

    def content(place: Path) -> str:
        return storage.fingerprint([file for file in place.rglob("*") if file.is_file()], place)

    if content(model) != content(copy):
        raise ModelError(f"the copy of {model} differs from it: is something writing there, or is the disk failing?")


def _add_metrics(record: Manifest, metrics: Mapping[str, float], copy: Path) -> None:
    """Puts metrics into the `hfpc.json` and the model card of a copy."""
    from hfpc.reports.model_card import model_card

    assert record.model is not None
    if not metrics:
        return
    merged = dataclasses.replace(record.model, metrics={**record.model.metrics, **metrics})
    updated = dataclasses.replace(record, model=merged)
    (copy / _CARD).write_text(model_card(updated), encoding="utf-8")
    updated.write(copy)


def _write_aliases(name: str, entries: Mapping[str, Alias], registry: str) -> None:
    file = folder(registry) / name / _ALIASES
    staging = file.with_name(f".{_ALIASES}")
    content = {alias: dataclasses.asdict(entry) for alias, entry in sorted(entries.items())}
    with staging.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(staging, file)


def _sync(place: Path) -> None:
    """Makes sure that the files are on the disk before the rename that publishes them is."""
    for file in place.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
