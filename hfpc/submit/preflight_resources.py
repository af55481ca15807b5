"""What a submission names of Google Cloud beside the bucket: the encryption key and the network."""

from collections.abc import Iterator

from hfpc import google_cloud
from hfpc.doctor import Finding
from hfpc.sinks.vertex_encryption import KMS_KEY
from hfpc.submit.preflight_google import UncheckedError
from hfpc.submit.preflight_subject import Subject, note, ok, problem
from hfpc.submit.vertex_submission import NETWORK

_USE = "cloudkms.cryptoKeyVersions.useToEncrypt"


def kms_key(subject: Subject) -> Iterator[Finding]:
    """Whether the key is there, in the region, enabled, and for Vertex AI to use (Cloud KMS API v1)."""
    google, key = subject.google, subject.submission.kms_key
    if not key:
        return
    what, named = f"encryption key {key}", KMS_KEY.fullmatch(key)
    if not named:
        fix = "give projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
        yield problem(what, "is no full name of a key", fix)
        return
    if subject.is_region and named[1] != google.location:
        fix = f"give a key of {google.location}"
        yield problem(what, f"is in {named[1]}, the run in {google.location}: Vertex AI takes no such key", fix)
        return
    found = google.get("cloudkms", f"/v1/{key}")
    if found.status == 404:
        yield problem(what, "does not exist", "create it, or correct its name")
        return
    content = found.get()
    state = content.get("primary", {}).get("state", "without a primary version")
    if content.get("purpose") != "ENCRYPT_DECRYPT" or state != "ENABLED":
        found_text = f"its purpose is {content.get('purpose')}, its primary version {state}"
        yield problem(what, found_text, "give a key for ENCRYPT_DECRYPT whose primary version is ENABLED")
        return
    yield _usable(subject, what, key)
    yield from _with_another(subject)


def network(subject: Subject) -> Iterator[Finding]:
    """Whether the network is there and peered with Google's services (Compute Engine API v1)."""
    given = subject.submission.network
    if not given:
        return
    what, named = f"network {given}", NETWORK.fullmatch(given)
    if not named:
        yield problem(what, "is no full name of a network", "give projects/PROJECT_NUMBER/global/networks/NAME")
        return
    if not named[1].isdigit():
        fix = f"give the project's number: gcloud projects describe {named[1]} --format='value(projectNumber)'"
        yield problem(what, f"names the project by its id {named[1]}", fix)
        return
    found = subject.google.get("compute", f"/compute/v1/{given}")
    if found.status == 404:
        yield problem(what, "does not exist", "create it, or correct its name")
    elif not any(peering.get("state") == "ACTIVE" for peering in found.get().get("peerings", [])):
        fix = f"set up private services access: gcloud services vpc-peerings connect --network={named[2]} …"
        yield problem(what, "is peered with nothing, so Vertex AI cannot reach it", fix)
    else:
        yield ok(what, "is there and peered")


def _with_another(subject: Subject) -> Iterator[Finding]:
    """Endpoints of the run that are there and have another key: an endpoint keeps the one that it was made with."""
    google, region = subject.google, subject.google.location
    for step, origin, name in subject.inputs("endpoint_name"):
        extra = step.inputs.get("extra")
        key = extra.value.get("kms_key", "") if extra and extra.known and isinstance(extra.value, dict) else ""
        if step.function != "deploy_vertex_endpoint" or not key:
            continue
        path = f"/v1/projects/{google.project}/locations/{region}/endpoints/{name}"
        found = google.ask("GET", google_cloud.endpoint("aiplatform", region), path)
        there = key if found.status == 404 else found.get().get("encryptionSpec", {}).get("kmsKeyName", "")
        if there != key:
            fix = f"give that key, or another {origin}"
            yield problem(f"endpoint {name}", f"was made with {there or 'a key of Google'}, and keeps it", fix)


def _usable(subject: Subject, what: str, key: str) -> Finding:
    """Whether Vertex AI's own agent may use a key that is there."""
    try:
        agent = f"service-{subject.google.project_number()}@gcp-sa-aiplatform.iam.gserviceaccount.com"
        may = subject.google.permitted(agent, _USE, f"//cloudkms.googleapis.com/{key}")
    except UncheckedError as error:
        told = f"is enabled; not checked whether Vertex AI's agent may use it: {error}"
        return note(what, told, "make sure that it has roles/cloudkms.cryptoKeyEncrypterDecrypter on the key")
    if may:
        return ok(what, "is enabled, and Vertex AI may use it")
    fix = f"grant roles/cloudkms.cryptoKeyEncrypterDecrypter on it to {agent}"
    return problem(what, f"{agent} may not use it", fix)
