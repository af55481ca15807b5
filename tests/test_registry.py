"""The registry does not load models, so these are folders of the right form with random weights in them."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfpc import manifest, registry
from hfpc.errors import ArgumentError, DataError, ModelError
from hfpc.manifest import Manifest, ModelRecord
from tests.conftest import LABELS, dataset_record


def make_model(folder: Path, seed: int = 0, size: int = 1000) -> Path:
    folder.mkdir(parents=True)
    (folder / "sub").mkdir()
    (folder / "model.safetensors").write_bytes(random.Random(seed).randbytes(size))
    (folder / "sub" / "config.json").write_text(json.dumps({"seed": seed}))
    (folder / "README.md").write_text("# before\n")
    record = ModelRecord(
        base_model="sample:minilm",
        revision="",
        max_length=64,
        parameters={},
        metrics={"validation/accuracy": 0.8},
        fingerprint=f"{seed:064x}",
    )
    data = dataset_record(LABELS, {"text": "text", "label": "label"}, {"train": 1})
    Manifest(kind="model", task="text-classification", dataset=data, model=record).write(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "registry")


def test_a_version_is_a_copy_and_the_same_model_is_one_version(tmp_path, place):
    first, second = make_model(tmp_path / "a", 1), make_model(tmp_path / "b", 2)
    assert registry.register(first, name="tweets", registry=place) == "1"
    assert registry.register(second, name="tweets", registry=place) == "2"
    assert registry.register(first, name="tweets", registry=place) == "1"
    assert registry.register(first, name="other", registry=place) == "1"
    assert content(registry.find("tweets@1", place)) == content(first)
    assert content(registry.find("tweets@2", place)) == content(second)


def test_metrics_go_into_the_copy_and_onto_its_card_only(tmp_path, place):
    model = make_model(tmp_path / "a")
    before = content(model)
    version = registry.register(model, name="tweets", registry=place, metrics={"test/accuracy": 0.87654})
    copy = registry.version_folder("tweets", version, place)
    assert manifest.read(copy).model.metrics == {"validation/accuracy": 0.8, "test/accuracy": 0.87654}
    card = (copy / "README.md").read_text()
    assert "0.87" in card or "87.6" in card or "87.7" in card
    assert content(model) == before
    changed = {name for name, value in content(copy).items() if value != before[name]}
    assert changed == {"README.md", "hfpc.json"}


def test_an_alias_moves_and_knows_what_it_named_before(tmp_path, place):
    for seed in (1, 2):
        registry.register(make_model(tmp_path / str(seed), seed), name="tweets", registry=place)
    assert registry.find("tweets@champion", place) is None
    assert registry.move_alias("tweets", "champion", "1", place)[0].previous == ""
    assert registry.move_alias("tweets", "champion", "2", place)[0].previous == "1"
    assert registry.move_alias("tweets", "champion", "2", place) == (
        registry.Alias(version="2", previous="1"),
        False,
    )  # a retry
    assert registry.find("tweets@champion", place) == registry.find("tweets@2", place)
    registry.restore_alias("tweets", "champion", "1", "", place)
    assert registry.find("tweets@champion", place).name == "2"  # moved on since: stays
    registry.restore_alias("tweets", "champion", "2", "1", place)
    assert registry.find("tweets@champion", place).name == "1"
    registry.restore_alias("tweets", "champion", "1", "", place)
    assert registry.find("tweets@champion", place) is None


def test_what_is_not_there_is_none(tmp_path, place):
    assert registry.find("tweets@champion", place) is None
    assert registry.find("tweets@1", place) is None
    assert registry.versions(place) == []
    assert not Path(place).exists()


def test_versions_are_read_newest_first(tmp_path, place):
    for seed in range(1, 12):
        registry.register(make_model(tmp_path / str(seed), seed), name="b", registry=place)
    registry.register(make_model(tmp_path / "other"), name="a", registry=place)
    registry.move_alias("b", "champion", "10", place)
    registry.move_alias("b", "before", "10", place)
    found = registry.versions(place)
    assert [(version.name, version.version) for version in found] == [
        ("a", "1"),
        *(("b", str(number)) for number in range(11, 0, -1)),
    ]
    assert {version.version: version.aliases for version in found if version.aliases} == {"10": ("before", "champion")}
    assert found[0].manifest.model.metrics == {"validation/accuracy": 0.8}


def test_the_default_is_under_the_home(home, tmp_path):
    registry.register(make_model(tmp_path / "a"), name="tweets")
    assert registry.find("tweets@1") == home / "registry" / "tweets" / "versions" / "1"


def test_a_number_is_not_given_twice(tmp_path, place):
    """Else an alias of a version that somebody removed would come to name another model."""
    registry.register(make_model(tmp_path / "1", 1), name="tweets", registry=place)
    registry.move_alias("tweets", "champion", "1", place)
    shutil.rmtree(registry.find("tweets@1", place))
    with pytest.raises(DataError, match=r"names version 1, but .* is gone"):
        registry.find("tweets@champion", place)
    assert registry.register(make_model(tmp_path / "2", 2), name="tweets", registry=place) == "2"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a@b", "a b", ".a", "é", "a\n", "x" * 101])
def test_a_name_cannot_lead_elsewhere(tmp_path, place, name):
    with pytest.raises(ArgumentError, match="name="):
        registry.register(make_model(tmp_path / "a"), name=name, registry=place)
    with pytest.raises(ArgumentError, match="reference="):
        registry.find(f"{name}@champion", place)
    assert not Path(place).exists()


@pytest.mark.parametrize("alias", ["", "1", "..", "a/b", "-a", "a@b", "a\n"])
def test_an_alias_cannot_be_mistaken(tmp_path, place, alias):
    registry.register(make_model(tmp_path / "a"), name="tweets", registry=place)
    with pytest.raises(ArgumentError, match="alias="):
        registry.move_alias("tweets", alias, "1", place)


@pytest.mark.parametrize("version", ["", "0", "01", "2", "champion", "1.0", "../1", "1\n"])
def test_a_version_must_be_there(tmp_path, place, version):
    registry.register(make_model(tmp_path / "a"), name="tweets", registry=place)
    with pytest.raises(ArgumentError, match="has no such version"):
        registry.move_alias("tweets", "champion", version, place)


def test_what_is_no_model_is_refused_and_leaves_nothing(tmp_path, place):
    with pytest.raises(DataError):
        registry.register(tmp_path, name="tweets", registry=place)
    with pytest.raises(ArgumentError, match="registry='s3://"):
        registry.register(make_model(tmp_path / "a"), name="tweets", registry="s3://bucket")
    assert not Path(place).exists()


def test_a_damaged_alias_file_is_named(tmp_path, place):
    registry.register(make_model(tmp_path / "a"), name="tweets", registry=place)
    for damaged in ("", "[]", "[1]", '{"champion": "1"}', '{"champion": {}}'):
        (Path(place) / "tweets" / "aliases.json").write_text(damaged)
        with pytest.raises(DataError, match=r"aliases\.json cannot be read"):
            registry.find("tweets@champion", place)


def test_locate_takes_a_folder_or_a_reference(tmp_path, place):
    model = make_model(tmp_path / "a@1")
    registry.register(model, name="tweets", registry=place)
    assert registry.locate(str(model), place) == model
    assert registry.locate("tweets@1", place) == registry.find("tweets@1", place)
    with pytest.raises(ArgumentError, match="give a model folder that exists"):
        registry.locate(str(tmp_path / "none"), place)
    with pytest.raises(ArgumentError, match="give one of tweets@1"):
        registry.locate("tweets@champion", place)


def start(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


def test_processes_that_register_one_model_at_once_agree_on_its_version(tmp_path, place):
    model = make_model(tmp_path / "a", size=5_000_000)
    code = """
import sys, time
from pathlib import Path
from hfpc import registry
time.sleep(max(0, float(sys.argv[3]) - time.time()))
print(registry.register(Path(sys.argv[1]), name="tweets", registry=sys.argv[2]))
"""
    together = str(time.time() + 1.5)
    processes = [start(code, str(model), place, together) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["1\n"] * 3
    assert [version.version for version in registry.versions(place)] == ["1"]


def test_processes_that_write_at_once_lose_nothing(tmp_path, place):
    """Each registers models of its own and moves an alias of its own; all of it must be there after."""
    code = """
import sys, time
from pathlib import Path
from hfpc import registry
who, models, place, together = sys.argv[1:]
time.sleep(max(0, float(together) - time.time()))
for model in sorted(Path(models).glob(f"{who}-*")):
    version = registry.register(model, name="tweets", registry=place)
    registry.move_alias("tweets", who, version, place)
    registry.move_alias("tweets", "champion", version, place)
    print(version)
"""
    for number, who in enumerate("abc"):
        for index in range(8):
            make_model(tmp_path / "models" / f"{who}-{index}", seed=100 * number + index)
    together = str(time.time() + 1.5)
    processes = {who: start(code, who, str(tmp_path / "models"), place, together) for who in "abc"}
    given = {who: process.communicate()[0].split() for who, process in processes.items()}
    assert sorted((version for versions in given.values() for version in versions), key=int) == [
        str(number) for number in range(1, 25)
    ]
    named = registry.aliases("tweets", place)
    assert {who: named[who].version for who in "abc"} == {who: versions[-1] for who, versions in given.items()}
    assert named["champion"].version in [versions[-1] for versions in given.values()]


def test_killed_at_any_moment_the_registry_stays_whole(tmp_path, place):
    """A process registers and deploys one model after the other, and is killed twelve times."""
    code = """
import sys
from pathlib import Path
from hfpc import registry
print("ready", flush=True)
for model in sorted(Path(sys.argv[1]).iterdir()):
    version = registry.register(model, name="tweets", registry=sys.argv[2], metrics={"test/accuracy": 0.9})
    registry.move_alias("tweets", "champion", version, sys.argv[2])
print("done", flush=True)
"""
    models = [make_model(tmp_path / "models" / f"{seed:03}", seed, size=300_000) for seed in range(40)]
    weights = {manifest.read(model).model.fingerprint: (model / "model.safetensors").read_bytes() for model in models}
    rng, killed = random.Random(0), 0
    for _ in range(12):
        process = start(code, str(tmp_path / "models"), place)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed += "done" not in process.communicate()[0]
        versions = registry.versions(place)  # reads every manifest
        for version in versions:
            assert (version.folder / "model.safetensors").read_bytes() == weights[version.manifest.model.fingerprint]
            assert version.manifest.model.metrics["test/accuracy"] == 0.9
            assert "0.9" in (version.folder / "README.md").read_text()
        fingerprints = [version.manifest.model.fingerprint for version in versions]
        assert len(set(fingerprints)) == len(fingerprints)
        if registry.aliases("tweets", place):
            assert registry.find("tweets@champion", place).is_dir()
    assert killed >= 6, "the kills came too late to mean anything"
    last = start(code, str(tmp_path / "models"), place)
    assert last.communicate()[0] == "ready\ndone\n"
    assert {version.manifest.model.fingerprint for version in registry.versions(place)} == set(weights)
    assert registry.fingerprint(registry.find("tweets@champion", place)) == f"{39:064x}"
    assert sorted(os.listdir(Path(place) / "tweets" / "versions")) == sorted(str(n) for n in range(1, 41))


def test_a_copy_that_differs_is_not_registered(tmp_path, place):
    """A process changes the weights while they are copied; the lock of the registry cannot stop it."""
    model = make_model(tmp_path / "a", size=30_000_000)
    code = """
import sys
with open(sys.argv[1], "r+b") as weights:
    print("ready", flush=True)
    while True:
        for byte in b"ab":
            weights.seek(29_999_999)
            weights.write(bytes([byte]))
            weights.flush()
"""
    writer = start(code, str(model / "model.safetensors"))
    try:
        assert writer.stdout.readline() == "ready\n"
        # Once might be luck: the last byte could be the same at both reads.
        with pytest.raises(ModelError, match="differs"):
            [registry.register(model, name=f"tweets-{attempt}", registry=place) for attempt in range(20)]
        assert [registry.find(f"{tried.name}@1", place) for tried in Path(place).iterdir()].count(None) == 1
    finally:
        writer.kill()
        writer.communicate()


def test_a_version_keeps_its_metrics_when_the_model_comes_again_with_others(tmp_path, place):
    model = make_model(tmp_path / "a")
    registry.register(model, name="tweets", registry=place, metrics={"test/accuracy": 0.5})
    record = manifest.read(model)
    dataclasses.replace(record, model=dataclasses.replace(record.model, metrics={})).write(model)
    registry.register(model, name="tweets", registry=place, metrics={"test/accuracy": 0.6})
    assert manifest.read(registry.find("tweets@1", place)).model.metrics["test/accuracy"] == 0.5


@pytest.mark.parametrize("damage", ["hfpc.json", "aliases.json"])
def test_a_damaged_record_hides_no_other_and_blocks_no_registration(tmp_path, place, caplog, damage):
    for seed in (1, 2):
        registry.register(make_model(tmp_path / str(seed), seed), name="tweets", registry=place)
    registry.register(make_model(tmp_path / "other"), name="names", registry=place)
    damaged = Path(place, "tweets", "versions", "1", damage) if damage == "hfpc.json" else Path(place, "tweets", damage)
    damaged.write_text("{")
    left = [("names", "1"), ("tweets", "2")] + ([("tweets", "1")] if damage == "aliases.json" else [])
    assert [(version.name, version.version) for version in registry.versions(place)] == left
    assert f"{damaged} cannot be read" in caplog.text
    if damage == "hfpc.json":
        assert registry.register(make_model(tmp_path / "3", 3), name="tweets", registry=place) == "3"
