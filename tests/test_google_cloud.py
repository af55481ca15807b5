"""What is told of the errors of Google's services."""

import pytest

from hfpc import google_cloud
from hfpc.errors import HfpcError

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
