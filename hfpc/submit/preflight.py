"""Looks for everything that would make a submitted run fail, in seconds instead of an hour into the run.

The checks run side by side and change nothing. Each has the same few seconds; what it could not find out by then,
because a service does not answer or the caller may not ask it, is said and not guessed.
"""

import threading
import time
from collections.abc import Callable, Iterator

from hfpc.doctor import Finding
from hfpc.errors import HfpcError
from hfpc.submit import (
    preflight_access,
    preflight_compute,
    preflight_hub,
    preflight_images,
    preflight_project,
    preflight_resources,
    preflight_spec,
    preflight_storage,
)
from hfpc.submit.preflight_google import Google, NoCredentialsError, UncheckedError
from hfpc.submit.preflight_subject import Subject, in_one_line, note
from hfpc.submit.vertex_submission import VertexSubmission

SECONDS = 8.0
"""What all checks together may take: a person waits for them."""

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "credentials": preflight_project.credentials,
    "project": preflight_project.project,
    "APIs": preflight_project.apis,
    "location": preflight_project.location,
    "service account": preflight_project.service_account,
    "Vertex AI": preflight_access.vertex,
    "pipeline": preflight_spec.pipeline,
    "parameters": preflight_spec.parameters,
    "labels": preflight_spec.labels,
    "job id": preflight_project.job_id,
    "bucket": preflight_storage.bucket,
    "Cloud Storage sources": preflight_storage.sources,
    "images": preflight_images.images,
    "accelerators": preflight_images.idle_accelerators,
    "machines": preflight_compute.machines,
    "quota": preflight_compute.quota,
    "Hugging Face Hub": preflight_hub.hub,
    "encryption key": preflight_resources.kms_key,
    "network": preflight_resources.network,
}
"""What is checked, in the order in which to mend it."""


def preflight(submission: VertexSubmission, *, seconds: float = SECONDS) -> list[Finding]:
    """Everything that can be told before a submission.

    Args:
        submission: What is to be submitted.
        seconds: What all checks together may take.

    Returns:
        One finding a line: "problem" for what will fail, with its fix; "note" for what could not be checked, and
        why; "ok" for what is as it must be.
    """
    google = Google(submission.project, submission.location)
    subject = Subject(submission=submission, steps=preflight_spec.steps(submission), google=google)
    end = time.monotonic() + seconds
    checks = [_Running(name, check, subject) for name, check in CHECKS.items()]
    for running in checks:
        running.start()
    for running in checks:
        running.join(max(0.0, end - time.monotonic()))
    found = [finding for running in checks for finding in running.so_far(seconds)]
    if unchecked := [running.name for running in checks if running.lacks_credentials]:
        found.append(note("not checked", ", ".join(unchecked), "give working credentials first"))
    return list(map(in_one_line, found))


class _Running(threading.Thread):
    """One check. Its thread does not keep the process alive when a service never answers."""

    def __init__(self, name: str, check: Check, subject: Subject) -> None:
        super().__init__(name=name, daemon=True)
        self.lacks_credentials = False
        self._check = check
        self._subject = subject
        self._findings: list[Finding] = []

    def run(self) -> None:
        try:
            for finding in self._check(self._subject):
                self._findings.append(finding)
        except NoCredentialsError:  # which the check of the credentials tells
            self.lacks_credentials = True
        except (UncheckedError, HfpcError) as error:
            self._findings.append(note(self.name, f"not checked: {error}"))
        except Exception as error:  # an answer in a form that nobody expects must not keep a run from its start
            self._findings.append(note(self.name, f"not checked: {type(error).__name__} ({error})"))

    def so_far(self, seconds: float) -> list[Finding]:
        """The findings, and that there is no more where the time is over."""
        found = list(self._findings)
        return [*found, note(self.name, f"not checked: no answer within {seconds:g} s")] if self.is_alive() else found
