"""What a run left on disk, as its report links to it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from hfpc.runs import Artifact, Run, Task

_PAGES = "pages"
_HTML = "system.HTML"


@dataclass(frozen=True)
class File:
    """An artifact or a log.

    Attributes:
        name: What a person calls it.
        type: kfp schema title, "" for a log.
        place: Path relative to the run's folder, another path, or a URI.
        href: Link from the run's folder; "" where a browser could open nothing.
        missing: Whether nothing is where it should be.
    """

    name: str
    type: str
    place: str
    href: str
    missing: bool


def artifact_file(run: Run, task: Task, artifact: Artifact) -> File:
    """An artifact with its link; a page is linked under the name that browsers show as a page."""
    page = run.folder / _page_name(task, artifact)
    return _file(run, artifact.name, artifact.type, str(page) if page.exists() else artifact.path)


def log_file(run: Run, task: Task) -> File | None:
    """The task's log, or None before it has one."""
    return _file(run, "log", "", task.log) if task.log else None


def local_path(run: Run, artifact: Artifact) -> Path | None:
    """Where an artifact lies on this machine, or None for one that lies elsewhere."""
    place = artifact.path.removeprefix("file://")
    return None if not place or "://" in place else run.folder / place


def write_pages(run: Run) -> None:
    """Copies every HTML artifact into the run's `pages/`, under a name that ends in `.html`.

    Pipelines call an artifact's file by its name alone (`report`), and a browser shows a file
    without that ending as text.
    """
    for task in run.tasks:
        for artifact in task.artifacts:
            source = local_path(run, artifact) if artifact.type == _HTML else None
            if source is not None and source.is_file():
                page = run.folder / _page_name(task, artifact)
                page.parent.mkdir(exist_ok=True)
                shutil.copyfile(source, page)


def _page_name(task: Task, artifact: Artifact) -> Path:
    return Path(_PAGES) / f"{task.name}-{artifact.name}.html".replace("/", "-")


def _file(run: Run, name: str, kind: str, place: str) -> File:
    if urlsplit(place).scheme in ("http", "https"):
        return File(name, kind, place, place, missing=False)
    place = place.removeprefix("file://")
    if "://" in place:
        return File(name, kind, place, "", missing=False)
    path = run.folder / place
    if not place or not path.exists():
        return File(name, kind, place, "", missing=True)
    if path.is_relative_to(run.folder):
        place = path.relative_to(run.folder).as_posix()
        return File(name, kind, place, f"./{quote(place)}", missing=False)
    return File(name, kind, place, path.as_uri(), missing=False)
