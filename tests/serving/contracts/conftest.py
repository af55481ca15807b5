"""What the tests of contracts share."""

import pytest


@pytest.fixture
def refused():
    """Checks that a response is an error of a status that says something."""

    def check(response, status: int, *says: str) -> None:
        assert response.status_code == status, response.text
        assert response.json().keys() == {"error"}
        for part in says:
            assert part in response.json()["error"]

    return check
