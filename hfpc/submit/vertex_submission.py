"""What is submitted to Vertex AI Pipelines, before anything is asked of Google Cloud."""

import re
from dataclasses import dataclass, field
from typing import Any

from hfpc.submit.graph import Spec

MOST_LABELS = 63
"""Labels of a run that a caller may give: Vertex AI takes 64, and one is our own."""

SERVICE_ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com")
"""E-mail address of a service account."""

NETWORK = re.compile(r"projects/([^/]+)/global/networks/([a-z][a-z0-9-]{0,62})")
"""Full name of a network, with its project and its own name; Vertex AI takes the project's number only."""


@dataclass(frozen=True, kw_only=True)
class VertexSubmission:
    """A compiled pipeline with everything a run of it needs.

    Attributes:
        name: Name of the pipeline, as people call it, e.g. "finetune_vertex".
        spec: The pipeline spec, compiled for Vertex AI, as a dictionary in the form of its JSON.
        parameters: Parameters of the run, with the types that the pipeline declares.
        project: Google Cloud project.
        location: Region, e.g. "us-central1".
        pipeline_root: Folder of the artifacts, `gs://BUCKET/…`.
        job_id: Id of the run: lower case letters, digits and `-`. The same id is never run twice.
        service_account: E-mail address of the account that the tasks run as; "" for the project's
            Compute Engine default, and Vertex AI's Custom Code Service Agent in custom jobs.
        network: Full name of a peered VPC network; "" for none.
        kms_key: Full name of a Cloud KMS key that encrypts the run, its custom jobs, and the models, endpoints and
            batch predictions that its steps make; "" for Google's.
        labels: Labels of the run and of its custom jobs, at most `MOST_LABELS`.
        caching: True or False for all tasks; None leaves it to each.
        template_uri: Address in Artifact Registry that the spec was downloaded from; "" for none.
        experiment: Name of a Vertex AI experiment that the run belongs to; "" for none.
    """

    name: str
    spec: Spec
    parameters: dict[str, Any]
    project: str
    location: str
    pipeline_root: str
    job_id: str
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    caching: bool | None = None
    template_uri: str = ""
    experiment: str = ""
