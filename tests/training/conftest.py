import pytest

from tests.training.machine import PROCESSES


@pytest.fixture(scope="module")
def imported() -> None:
    """Waits for the long imports, so that they do not count as time that a training takes."""
    process = PROCESSES.Process(target=int)
    process.start()
    process.join()
