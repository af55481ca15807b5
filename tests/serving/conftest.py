"""One client of a text classifier and one of a tagger for all tests of the application."""

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
