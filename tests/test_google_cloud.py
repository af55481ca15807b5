"""What is told of the errors of Google's services, and of what is missing to ask them."""

import pytest

from hfpc import google_cloud
from hfpc.errors import ArgumentError, HfpcError

exceptions = pytest.importorskip("google.api_core.exceptions")

ROLE = "(whoever calls needs the role roles/aiplatform.user)"
PERMISSION = "Permission 'aiplatform.models.upload' denied on resource '//aiplatform.googleapis.com/projects/test'."
NO_ACT_AS = "You do not have permission to act as service_account: tasks@test.iam.gserviceaccount.com."
SWITCHED_OFF = (
    "Vertex AI API is disabled. Visit https://console.developers.google.com/apis/api/aiplatform.googleapis.com/x"
)


@pytest.mark.parametrize(("text", "advice"), [(PERMISSION, f" {ROLE}"), (NO_ACT_AS, ""), (SWITCHED_OFF, "")])
def test_a_role_is_advised_only_where_a_permission_lacks_that_is_in_it(text, advice):
    with pytest.raises(HfpcError) as told, google_cloud.reaching("registering tweets"):
        raise exceptions.Forbidden(text)
    assert str(told.value) == f"Vertex AI failed at registering tweets: {text}{advice}"


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A file that holds no key, and the environment that names it and nothing else."""
    file = tmp_path / "key.json"
    file.write_text('{"type": "service_account"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    return file


def test_a_bad_key_file_is_named_with_what_is_wrong(key):
    with pytest.raises(ArgumentError) as told:
        google_cloud.credentials()
    reason = f"Failed to load service account credentials from {key}"
    fix = f"Google Cloud gives no credentials ({reason}): run `gcloud auth application-default login`"
    assert str(told.value) == f"GOOGLE_APPLICATION_CREDENTIALS={str(key)!r}: {fix}"


def test_where_the_project_and_the_credentials_lack_the_project_is_asked_for_first(key):
    with pytest.raises(ArgumentError) as told:
        google_cloud.project()
    assert str(told.value) == "project='': name the Google Cloud project, here or in GOOGLE_CLOUD_PROJECT"
    assert google_cloud.project("mine") == "mine"
