import os
import re
import subprocess
import sys
import uuid

import fsspec
import pytest

from hfpc import storage
from hfpc.errors import ArgumentError, MissingExtraError


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def read(folder):
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(params=["memory", "file", "path"])
def uri(request, tmp_path):
    """A place that nothing is at, in each kind of store."""
    place = f"{uuid.uuid4().hex}/artifact"
    return {"memory": f"memory://{place}", "file": f"file://{tmp_path}/{place}", "path": str(tmp_path / place)}[
        request.param
    ]


def test_publishing_shows_the_folder_only_when_it_is_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with storage.publishing(out) as staging:
        write(staging, {"a": "1", "b/c": "2"})
        assert not out.exists()
    assert read(out) == {"a": "1", "b/c": "2"}
    assert list(out.parent.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o755


def test_a_failure_leaves_what_was_there_before(tmp_path):
    out = write(tmp_path / "out", {"old": "1"})

    def fail():
        with storage.publishing(out) as staging:
            write(staging, {"new": "2"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(out) == {"old": "1"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("before", ["folder", "file", "link"])
def test_publishing_replaces_what_was_there(tmp_path, before):
    out, other = tmp_path / "out", write(tmp_path / "other", {"kept": "1"})
    if before == "folder":
        write(out, {"old": "1", "sub/old": "1"})
    elif before == "file":
        out.touch()
    else:
        out.symlink_to(other)
    with storage.publishing(out) as staging:
        write(staging, {"new": "2"})
    assert read(out) == {"new": "2"} and not out.is_symlink()
    assert read(other) == {"kept": "1"}


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "deep" / "page.html"
    storage.write_text(file, "é")
    assert file.read_bytes() == "é".encode()
    with pytest.raises(UnicodeEncodeError):
        storage.write_text(file, "begun" * 10_000 + "\ud800")
    assert file.read_bytes() == "é".encode()
    assert list(file.parent.iterdir()) == [file]


def test_a_process_killed_while_it_fills_the_folder_leaves_none(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from hfpc import storage
with storage.publishing(Path(sys.argv[1])) as staging:
    (staging / "hfpc.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()


def test_a_copy_holds_the_same_and_can_be_written(tmp_path):
    source = write(tmp_path / "source", {"a": "1", "b/hfpc.json": "2", "hfpc.json": "3"})
    (source / "a").chmod(0o444)
    target = write(tmp_path / "target", {"old": "4"})
    storage.copy_folder(source, target)
    assert read(target) == read(source)
    assert os.stat(target / "a").st_mode & 0o200


def test_a_folder_goes_up_and_comes_down(uri, tmp_path):
    content = {"hfpc.json": "{}", "a": "1", "b/c d": "é", "b/hfpc.json": "2", "b/ü/e": ""}
    storage.upload(write(tmp_path / "source", content), uri)
    assert read(storage.download(uri, tmp_path / "target")) == content
    assert read(storage.download(uri + "/", tmp_path / "again")) == content


def test_an_upload_replaces_an_artifact_and_nothing_else(uri, tmp_path):
    storage.upload(write(tmp_path / "long", {"hfpc.json": "1", "part-0": "1", "part-1": "1"}), uri)
    storage.upload(write(tmp_path / "sibling", {"hfpc.json": "s"}), uri + "-sibling")
    storage.upload(write(tmp_path / "short", {"hfpc.json": "2", "part-0": "2"}), uri)
    assert read(storage.download(uri, tmp_path / "target")) == {"hfpc.json": "2", "part-0": "2"}
    assert read(storage.download(uri + "-sibling", tmp_path / "other")) == {"hfpc.json": "s"}


def test_an_upload_does_not_touch_the_files_of_somebody_else(uri, tmp_path):
    storage.upload(write(tmp_path / "theirs", {"thesis.txt": "ten years of work"}), uri)
    with pytest.raises(ArgumentError, match=r"other files are there, e\.g\. .*thesis\.txt"):
        storage.upload(write(tmp_path / "ours", {"hfpc.json": "1"}), uri)
    assert read(storage.download(uri, tmp_path / "target")) == {"thesis.txt": "ten years of work"}


class _Full(Exception):
    pass


def test_an_upload_cut_short_is_no_artifact_and_the_next_one_heals_it(tmp_path):
    """The store fails after one file, as a full or lost one would."""
    from fsspec.implementations.memory import MemoryFileSystem

    uri = f"memory://{uuid.uuid4().hex}"
    storage.upload(write(tmp_path / "old", {"hfpc.json": "1", "a": "1", "b": "1"}), uri)
    new = write(tmp_path / "new", {"hfpc.json": "2", "a": "2", "b": "2"})
    store, path = fsspec.core.url_to_fs(uri)
    assert isinstance(store, MemoryFileSystem)
    put, calls = store.put_file, []

    def put_one(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 1:
            raise _Full
        put(*arguments, **options)

    store.put_file = put_one
    try:
        with pytest.raises(_Full):
            storage.upload(new, uri)
    finally:
        del store.put_file
    assert not store.exists(f"{path}/hfpc.json")
    storage.upload(new, uri)
    assert read(storage.download(uri, tmp_path / "target")) == {"hfpc.json": "2", "a": "2", "b": "2"}


@pytest.mark.parametrize("source", ["empty", "missing"])
def test_a_folder_without_files_is_not_uploaded_in_silence(tmp_path, source):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(ArgumentError, match="there is no file in it"):
        storage.upload(tmp_path / source, f"memory://{uuid.uuid4().hex}")


def test_nothing_at_a_location_is_an_error(uri, tmp_path):
    with pytest.raises(ArgumentError, match="there is nothing at this location"):
        storage.download(uri, tmp_path / "target")


def test_an_error_names_the_argument_that_was_given(uri, tmp_path):
    with pytest.raises(ArgumentError, match=f"^base_model={re.escape(repr(uri))}"):
        storage.download(uri, tmp_path / "target", "base_model")
    with pytest.raises(ArgumentError, match=r"^champion='memory://"):
        storage.local_folder(f"memory://{uuid.uuid4().hex}", tmp_path / "cache", "champion")


def test_a_store_that_refuses_is_an_error_with_a_fix(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match=r"^output_uri=.*it cannot be used \(.*your credentials"):
        storage.upload(write(tmp_path / "ours", {"a": "1"}), f"{tmp_path}/file/inner", "output_uri")


def test_a_file_is_not_a_folder(uri, tmp_path):
    storage.upload(write(tmp_path / "source", {"a": "1"}), uri)
    with pytest.raises(ArgumentError, match="this is a file"):
        storage.download(f"{uri}/a", tmp_path / "target")


def test_a_key_cannot_lead_out_of_the_folder(tmp_path):
    """Keys of object stores may hold `..`; an archive's member names behave alike."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("model/config.json", "{}")
        archive.writestr("model/../../outside", "owned")
    target = tmp_path / "cache" / "target"
    with pytest.raises(ArgumentError, match="leads out of the folder"):
        storage.download(f"zip://model::file://{tmp_path}/evil.zip", target)
    assert not (tmp_path / "outside").exists() and not (tmp_path / "cache" / "outside").exists()
    assert not target.exists()


def test_a_local_folder_is_itself(tmp_path):
    cache = tmp_path / "cache"
    assert storage.local_folder(str(tmp_path), cache) == tmp_path
    assert storage.local_folder(f"file://{tmp_path}", cache) == tmp_path
    assert not cache.exists()


def test_a_remote_folder_is_fetched_once_and_again_when_it_changed(tmp_path):
    uri = f"memory://{uuid.uuid4().hex}/model"
    storage.upload(write(tmp_path / "old", {"hfpc.json": "1", "a": "1", "b": "1"}), uri)
    first = storage.local_folder(uri, tmp_path / "cache")
    fetched = (first / "a").stat().st_ino
    assert storage.local_folder(uri, tmp_path / "cache") == first
    assert (first / "a").stat().st_ino == fetched
    storage.upload(write(tmp_path / "new", {"hfpc.json": "2", "a": "2"}), uri)
    second = storage.local_folder(uri, tmp_path / "cache")
    assert read(second) == {"hfpc.json": "2", "a": "2"}
    assert read(first) == {"hfpc.json": "1", "a": "1", "b": "1"}  # a process may still be reading it


def test_nothing_stays_in_the_cache_when_a_location_is_empty(tmp_path):
    with pytest.raises(ArgumentError, match="there is nothing"):
        storage.local_folder(f"memory://{uuid.uuid4().hex}", tmp_path / "cache")
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("/gcs/bucket/a", "gs://bucket/a"),
        ("/s3/bucket/a", "s3://bucket/a"),
        ("/minio/mlpipeline/a", "s3://mlpipeline/a"),
        ("minio://mlpipeline/a", "s3://mlpipeline/a"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("/data/a", "/data/a"),
    ],
)
def test_what_a_platform_mounts_has_a_uri(location, uri):
    assert storage.store_uri(location) == uri


def test_a_store_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "adlfs", None)  # what an import finds where it is not installed
    with pytest.raises(MissingExtraError, match=r"adlfs.*hf-pipeline-components\[azure\]"):
        storage.filesystem("az://container/model")


def test_a_store_that_no_extra_brings_says_what_to_install():
    with pytest.raises(ArgumentError, match="dropboxdrivefs"):
        storage.filesystem("dropbox://a/b")


def test_an_unknown_store_is_named_with_its_argument():
    with pytest.raises(ArgumentError, match="source='floppy://a'"):
        storage.filesystem("floppy://a", "source")


def test_the_fingerprint_tells_names_and_content_apart(tmp_path):
    def of(name, files):
        folder = write(tmp_path / name, files)
        return storage.fingerprint([file for file in folder.rglob("*") if file.is_file()], folder)

    first = of("1", {"a": "xy", "b/c": "z"})
    assert of("2", {"b/c": "z", "a": "xy"}) == first
    others = [{"a": "xy", "b": "z"}, {"a": "x", "b/c": "yz"}, {"a": "xy", "b/c": "z", "d": ""}, {"a": "xY", "b/c": "z"}]
    assert len({first, *(of(f"other-{index}", files) for index, files in enumerate(others))}) == 5
