import os
import tempfile

import pytest

from hfpc.errors import ArgumentError
from hfpc.home import home


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A machine without `$HFPC_HOME`, with a home and a folder for temporary files of the test's own."""
    monkeypatch.delenv("HFPC_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "user"


def test_it_is_in_the_users_home(user):
    assert home() == user / ".hfpc"


def test_a_variable_names_another(user, monkeypatch):
    monkeypatch.setenv("HFPC_HOME", str(user / "other"))
    assert home() == user / "other"


def test_where_the_users_home_cannot_be_written_a_private_temporary_folder_serves(user, tmp_path):
    user.touch()  # nothing can be made below a file, by nobody
    assert home() == home() == tmp_path / f"hfpc-{os.getuid()}"
    assert home().stat().st_mode & 0o777 == 0o700


def test_a_folder_that_somebody_else_put_there_is_not_used(user, tmp_path):
    user.touch()
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"hfpc-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(ArgumentError, match="somebody else's"):
        home()


def test_a_folder_that_was_asked_for_and_cannot_be_written_is_named(user, monkeypatch):
    user.touch()
    monkeypatch.setenv("HFPC_HOME", str(user / "inner"))
    with pytest.raises(ArgumentError, match=r"HFPC_HOME='.*inner': set this environment variable"):
        home()
