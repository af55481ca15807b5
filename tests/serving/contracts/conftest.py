"""One client of a text classifier and one of a tagger for all tests of contracts."""

import pytest

from tests.serving.apps import serving


@pytest.fixture(scope="package")
def texts(model):
    with serving(model) as client:
        yield client


@pytest.fixture(scope="package")
def tags(tagging_model):
    with serving(tagging_model) as client:
        yield client


@pytest.fixture(params=["texts", "tags"])
def client(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def refused():
    """Checks that a response is an error of a status that says something."""

    def check(response, status: int, *says: str) -> None:
        assert response.status_code == status, response.text
        assert response.json().keys() == {"error"}
        for part in says:
            assert part in response.json()["error"]

    return check
