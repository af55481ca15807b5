"""What can be named as a target, before anything is downloaded. Downloads: tests/cloud/test_served_uris.py."""

import shutil

import pytest

from hfpc import registry
from hfpc.errors import ArgumentError, DataError
from hfpc.serving import targets
from hfpc.serving.targets import Found, Target
from hfpc.sinks import local


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_is_called_by_its_name(model, prefix):
    target = targets.parse(f"{prefix}{model}")
    assert target == Target(kind="folder", text=str(model)) and not target.fixed
    assert targets.find(target) == Found(
        folder=model, name=model.name, version="", fingerprint=registry.fingerprint(model)
    )


def test_a_relative_folder_goes_before_a_hub_id(model, monkeypatch):
    monkeypatch.chdir(model.parent.parent)
    target = targets.parse(f"{model.parent.name}/{model.name}")
    assert target == Target(kind="folder", text=str(model))


def test_a_registered_model_is_found_anew_each_time(home, model):
    local.register(model, None, name="tweets")
    local.deploy(name="tweets", version="1")
    target = targets.parse("tweets@champion")
    assert target == Target(kind="registered", text="tweets@champion") and not target.fixed
    found = targets.find(target)
    folder, fingerprint = home / "registry" / "tweets" / "versions" / "1", registry.fingerprint(model)
    assert found == Found(folder=folder, name="tweets@champion", version="1", fingerprint=fingerprint)


def test_another_registry(tmp_path, home, model):
    other = str(tmp_path / "registry")
    local.register(model, None, name="tweets", registry=other)
    assert targets.find(targets.parse("tweets@1", other)).folder.is_relative_to(other)
    with pytest.raises(ArgumentError, match="register and deploy one first"):
        targets.parse("tweets@1")


@pytest.mark.parametrize("text", ["gs://models/tweets", "s3://models/tweets/", "abfs://models@account/tweets"])
def test_a_uri_is_fixed(text):
    target = targets.parse(text)
    assert target == Target(kind="uri", text=text) and target.fixed


@pytest.mark.parametrize("text", ["ann/tweets", "ann/tweets@v1", "ann/tweets@refs/pr/1", "Ann-1/tweets_2.0"])
@pytest.mark.parametrize("prefix", ["", "hf://"])
def test_a_hub_id_is_fixed(text, prefix):
    target = targets.parse(prefix + text)
    assert target == Target(kind="hub", text=text) and target.fixed


@pytest.mark.parametrize(
    "text",
    ["tweets", "./tweets", "/no/tweets", "~/tweets", "ann/tweets/more", "ann/", "/tweets@1", "ann/tweets@", "hf://"],
)
def test_what_is_no_target_is_named(text):
    with pytest.raises(ArgumentError, match="give a model folder that exists, NAME@ALIAS") as caught:
        targets.parse(text)
    assert str(caught.value).startswith(f"target='{text}': ")


def test_no_target_is_not_the_folder_one_is_in(model, monkeypatch):
    monkeypatch.chdir(model)
    with pytest.raises(ArgumentError, match="no platform names a model here"):
        targets.parse("")


def test_a_web_page_is_no_folder():
    with pytest.raises(ArgumentError, match="a web server does not list"):
        targets.parse("https://example.com/model")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(DataError, match=r"has no hfpc\.json"):
        targets.parse(str(tmp_path))


def test_a_plain_model_of_transformers(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "plain", ignore=shutil.ignore_patterns("hfpc.json"))
    first = targets.find(targets.parse(str(folder)))
    assert len(first.fingerprint) == 64
    with (folder / "config.json").open("a") as file:
        file.write("\n")
    assert targets.find(targets.parse(str(folder))).fingerprint != first.fingerprint


def test_a_store_that_is_not_known():
    with pytest.raises(ArgumentError, match=r"target='nothing://a/b': .*use gs://"):
        targets.find(targets.parse("nothing://a/b"))
