"""What every check of the preflight is given, and how it says that it cannot tell."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hfpc.doctor import Finding
from hfpc.redaction import redacted
from hfpc.submit.graph import Step
from hfpc.submit.preflight_google import Google
from hfpc.submit.vertex_submission import VertexSubmission

_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_LONGEST = 400  # characters of one part of a line


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A submission, and what its checks share.

    Attributes:
        submission: What is to be submitted.
        steps: Its tasks with what is known of their inputs; empty where the spec cannot be read.
        google: Google Cloud's services, each question asked once.
    """

    submission: VertexSubmission
    steps: tuple[Step, ...]
    google: Google

    @property
    def is_region(self) -> bool:
        """Whether the location can be a region at all; where not, nothing is said of what it lacks."""
        return bool(_REGION.fullmatch(self.submission.location))

    def tasks_account(self) -> str:
        """E-mail address of the account that the tasks run as; custom jobs may run as another.

        Raises:
            UncheckedError: It is the default one, and the project's number cannot be read.
        """
        given = self.submission.service_account
        return given or f"{self.google.project_number()}-compute@developer.gserviceaccount.com"

    def jobs_account(self) -> str:
        """E-mail address of the account that custom jobs run as: without one given, Vertex AI's own for them.

        Raises:
            UncheckedError: It is the default one, and the project's number cannot be read.
        """
        given = self.submission.service_account
        return given or f"service-{self.google.project_number()}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"

    def inputs(self, *names: str) -> Iterator[tuple[Step, str, str]]:
        """As the function `inputs`, of these steps."""
        return inputs(self.steps, *names)

    def worker_pools(self) -> Iterator[tuple[Step, list[dict[str, Any]]]]:
        """The steps that are custom jobs, each with its worker pools as far as they are known."""
        for step in self.steps:
            pools = step.inputs.get("worker_pool_specs")
            if pools and pools.known and isinstance(pools.value, list):
                yield step, pools.value


def inputs(steps: Iterable[Step], *names: str) -> Iterator[tuple[Step, str, str]]:
    """Step, pipeline parameter (or input) and value of the inputs with these names that are known and not ""."""
    for step in steps:
        for name in names:
            value = step.inputs.get(name)
            if value and value.known and isinstance(value.value, str) and value.value:
                yield step, value.origin or name, value.value


def problem(what: str, found: str, fix: str) -> Finding:
    """What will make the run fail."""
    return Finding(what=what, found=found, level="problem", fix=fix)


def note(what: str, found: str, fix: str = "") -> Finding:
    """What could not be checked, or what is legal but seldom meant."""
    return Finding(what=what, found=found, level="note", fix=fix)


def ok(what: str, found: str) -> Finding:
    """What is as it must be."""
    return Finding(what=what, found=found)


def in_one_line(finding: Finding) -> Finding:
    """The same finding without line breaks, secrets and endless text of a service."""
    return replace(finding, what=_short(finding.what), found=_short(finding.found), fix=_short(finding.fix))


def _short(text: str) -> str:
    line = re.sub(r"\s+", " ", str(redacted(text))).strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
