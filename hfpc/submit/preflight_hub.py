"""Whether the models and data sets of the Hugging Face Hub can be read."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from hfpc import samples
from hfpc.doctor import Finding
from hfpc.submit.graph import Step
from hfpc.submit.preflight_google import UncheckedError, anonymous, send
from hfpc.submit.preflight_subject import Subject, note, ok, problem

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_REVISIONS = {"base_model": ("revision", "base_revision"), "source": ("revision", "source_revision")}
_FILES = {"base_model": ("", "config.json"), "source": ("/datasets", "README.md")}
_MISSING = ("RepoNotFound", "RevisionNotFound")
_COPY = "copy it to Cloud Storage and give {origin}=gs://…: the tasks have no token"


def hub(subject: Subject) -> Iterator[Finding]:
    """Asks the Hub (`HF_ENDPOINT`) for one small file of each, first as anybody and then with the caller's token."""
    asked = {
        (name, value, _revision(step, name), origin)
        for name in _FILES
        for step, origin, value in subject.inputs(name)
        if _ID.fullmatch(value) and not value.startswith(samples.PREFIX) and not Path(value).exists()
    }
    for name, value, revision, origin in sorted(asked):
        what = f"{origin} {value}" + (f" at {revision}" if revision else "")
        if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "True"):
            yield note(what, "not checked: HF_HUB_OFFLINE is set")
            continue
        try:
            yield _reached(what, origin, name, value, revision)
        except UncheckedError as error:
            yield note(what, f"not checked: {error}")


def _reached(what: str, origin: str, name: str, value: str, revision: str) -> Finding:
    token = _token()
    status, code = _ask(name, value, revision, "")
    if _is_there(status, code):
        return ok(what, "anybody may read it")
    # To a stranger the Hub does not tell what is private from what does not exist.
    if status not in (401, 403) and code not in _MISSING:
        raise UncheckedError(f"the Hub answers {status} {code}".strip())
    if not token:
        if status == 404:
            return problem(what, "the Hub has no such repository or revision", f"correct {origin}")
        told = "the Hub lets nobody read it without a token: it is gated or private, or does not exist"
        return problem(what, told, f"{_COPY.format(origin=origin)}; or correct its name")
    status, code = _ask(name, value, revision, token)
    if _is_there(status, code):
        told = "HF_TOKEN may read it, nobody else may, and it is not passed to the tasks"
        return problem(what, told, _COPY.format(origin=origin))
    if code == "GatedRepo" or status == 403:
        fix = f"accept its terms on the Hub with that account, then {_COPY.format(origin=origin)}"
        return problem(what, "it is gated, and HF_TOKEN has no access", fix)
    if status == 401:
        return problem(what, "the Hub refuses HF_TOKEN", "export a valid HF_TOKEN")
    if code in _MISSING:
        found = "the Hub has no such repository or revision, or HF_TOKEN may not see it"
        return problem(what, found, f"correct {origin}, or use a token that may read it")
    raise UncheckedError(f"the Hub answers {status} {code}".strip())


def _ask(name: str, value: str, revision: str, token: str) -> tuple[int, str]:
    """HTTP status and the Hub's own error code for one file of a repository."""
    kind, file = _FILES[name]
    base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with anonymous() as session:
        path = f"{kind}/{value}/resolve/{quote(revision or 'main', safe='')}/{file}"
        answer = send(session, "HEAD", base, path, headers=headers)
    return answer.status, answer.headers.get("X-Error-Code", "")


def _is_there(status: int, code: str) -> bool:
    """Whether a repository can be read; it need not have the file that was asked for."""
    return status < 400 or code == "EntryNotFound"


def _revision(step: Step, name: str) -> str:
    for key in _REVISIONS[name]:
        value = step.inputs.get(key)
        if value and value.known and value.value:
            return str(value.value)
    return ""


def _token() -> str:
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    file = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "token"
    return file.read_text("utf-8").strip() if file.is_file() else ""
