"""Model folders of candidates: sketches to measure in, and the whole one that is kept."""

import dataclasses
import hashlib
import shutil
from pathlib import Path, PurePosixPath

from hfpc import golden, manifest, storage
from hfpc.manifest import Manifest, OptimizationRecord
from hfpc.optimization.candidates import CANDIDATES, REFERENCE, Candidate
from hfpc.optimization.optimization import Optimization
from hfpc.reports.model_card import model_card
from hfpc.training.export import HISTORY_FILE_NAME

_CARD = "README.md"
_DECIDE_NOTHING = {_CARD, HISTORY_FILE_NAME, golden.FILE_NAME, manifest.FILE_NAME}
"""Files that tell of a model and do not change what it answers."""


def sketch(model: Path, content: Manifest, name: str, folder: Path) -> Path:
    """A model folder whose files are links to those of `model`, and whose `hfpc.json` names a candidate."""
    folder.mkdir()
    for item in model.iterdir():
        if item.name not in (manifest.FILE_NAME, _exported(content)):
            (folder / item.name).symlink_to(item.resolve())
    candidate = CANDIDATES[name]
    record = OptimizationRecord(
        kept=name,
        backend=candidate.backend,
        precision=candidate.precision,
        file=candidate.file,
        candidates=[],
        machine={},
    )
    dataclasses.replace(content, optimization=record).write(folder)
    return folder


def size(folder: Path, candidate: Candidate) -> int:
    """Bytes of the files that hold a candidate's weights."""
    pattern = f"{PurePosixPath(candidate.file).with_suffix('')}.*" if candidate.file else "*.safetensors"
    return sum(file.stat().st_size for file in folder.glob(pattern))


def publish(out: Path, model: Path, content: Manifest, optimization: Optimization, made: Path) -> None:
    """Writes the folder of the candidate that was kept; it appears whole or not at all.

    Its fingerprint is a new one, unless it computes just what `model` does.

    Args:
        out: Where.
        model: The model folder it was made from.
        content: Its `hfpc.json`.
        optimization: What was found.
        made: The sketch of the candidate that was kept.
    """
    candidate = CANDIDATES[optimization.kept]
    found = dataclasses.asdict(optimization)
    record = OptimizationRecord(
        kept=optimization.kept,
        backend=candidate.backend,
        precision=candidate.precision,
        file=candidate.file,
        candidates=found["candidates"],
        machine=found["machine"],
    )
    assert content.model is not None
    with storage.publishing(out) as folder:
        storage.copy_folder(model, folder)
        (folder / manifest.FILE_NAME).unlink()
        if earlier := _exported(content):
            shutil.rmtree(folder / earlier)
        if candidate.file:
            part = PurePosixPath(candidate.file).parts[0]
            shutil.copytree(made / part, folder / part)
        if earlier or optimization.kept != REFERENCE:
            content = dataclasses.replace(
                content, model=dataclasses.replace(content.model, fingerprint=_fingerprint(folder, candidate))
            )
        content = dataclasses.replace(content, optimization=record)
        (folder / _CARD).write_text(model_card(content), encoding="utf-8")
        content.write(folder)


def _exported(content: Manifest) -> str:
    """The folder of the file that an earlier optimization made; "" for none."""
    earlier = content.optimization
    return PurePosixPath(earlier.file).parts[0] if earlier is not None and earlier.file else ""


def _fingerprint(folder: Path, candidate: Candidate) -> str:
    """SHA-256 of all that decides what a folder answers: its files, and what computes them how exactly."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in _DECIDE_NOTHING]
    content = storage.fingerprint(files, folder)
    if candidate == CANDIDATES[REFERENCE]:
        return content
    return hashlib.sha256(f"{candidate.backend} {candidate.precision} {content}".encode()).hexdigest()
