import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hfpc import golden, manifest, registry
from hfpc.errors import ArgumentError, DataError, EndpointError, ModelError
from hfpc.manifest import Manifest, PredictionsRecord
from hfpc.sinks import local


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "registry")


def save_predictions(folder: Path, fingerprint: str, **metrics: float) -> Path:
    folder.mkdir()
    record = PredictionsRecord(model=fingerprint, split="test", rows=70, metrics=metrics)
    Manifest(kind="predictions", task="text-classification", predictions=record).write(folder)
    return folder


def changed(model: Path, folder: Path, fingerprint: str) -> Path:
    """A copy that counts as another model."""
    shutil.copytree(model, folder)
    content = json.loads((folder / "hfpc.json").read_text())
    content["model"]["fingerprint"] = fingerprint
    (folder / "hfpc.json").write_text(json.dumps(content))
    return folder


def with_wrong_label(model: Path, folder: Path, fingerprint: str) -> Path:
    """A copy whose first golden request expects the other label, as after a faulty conversion."""
    changed(model, folder, fingerprint)
    requests = golden.read(folder)
    response = requests[0]["response"]
    if manifest.read(folder).task == "text-classification":
        requests[0]["response"] = response[::-1]
    else:
        requests[0]["response"] = [*response, {"entity_group": "LOC", "score": 1.0, "word": "i", "start": 0, "end": 1}]
    (folder / "golden.json").write_text(json.dumps(requests))
    return folder


def test_a_model_is_registered_with_its_test_metrics(tmp_path, place, model):
    fingerprint = registry.fingerprint(model)
    predictions = save_predictions(tmp_path / "predictions", fingerprint, accuracy=0.91, macro_f1=0.9)
    registered = local.register(model, predictions, name="tweets", registry=place)
    assert (registered.registry, registered.name, registered.version) == (place, "tweets", "1")
    assert registered.fingerprint == fingerprint
    copy = Path(registered.uri)
    assert manifest.read(copy).model.metrics == {"test/accuracy": 0.91, "test/macro_f1": 0.9}
    assert (copy / "README.md").read_text() != (model / "README.md").read_text()
    assert local.register(model, predictions, name="tweets", registry=place) == registered


def test_predictions_of_another_model_are_refused(tmp_path, place, model):
    predictions = save_predictions(tmp_path / "predictions", "0" * 64)
    with pytest.raises(ArgumentError, match="of another model"):
        local.register(model, predictions, name="tweets", registry=place)
    with pytest.raises(DataError, match="holds a model, but a predictions is needed"):
        local.register(model, model, name="tweets", registry=place)
    assert not Path(place).exists()


@pytest.mark.parametrize("kind", ["model", "tagging_model"])
def test_a_version_is_deployed_replaced_and_put_back(request, tmp_path, place, kind):
    model = request.getfixturevalue(kind)
    local.register(model, None, name="m", registry=place)
    local.register(changed(model, tmp_path / "second", "2" * 64), None, name="m", registry=place)
    first = local.deploy(registry=place, name="m", version="1")
    assert (first.name, first.version, first.alias, first.previous_version) == ("m", "1", "champion", "")
    assert first.moved
    assert local.deploy(registry=place, name="m", version="1") == replace(first, moved=False)
    second = local.deploy(registry=place, name="m", version="2")
    assert second.previous_version == "1"
    assert local.deploy(registry=place, name="m", version="2") == replace(second, moved=False)  # a retry after a crash
    local.undeploy(first)  # it does not serve any more
    assert registry.find("m@champion", place).name == "2"
    local.undeploy(second)
    assert registry.find("m@champion", place).name == "1"
    local.undeploy(first)
    assert registry.find("m@champion", place) is None


@pytest.mark.parametrize("kind", ["model", "tagging_model"])
def test_a_wrong_answer_keeps_the_alias_where_it_was(request, tmp_path, place, kind):
    model = request.getfixturevalue(kind)
    local.register(model, None, name="m", registry=place)
    local.register(with_wrong_label(model, tmp_path / "wrong", "3" * 64), None, name="m", registry=place)
    with pytest.raises(EndpointError, match="'i love this day' gave"):
        local.deploy(registry=place, name="m", version="2")
    assert registry.find("m@champion", place) is None
    local.deploy(registry=place, name="m", version="1")
    with pytest.raises(EndpointError, match="no alias was moved"):
        local.deploy(registry=place, name="m", version="2")
    assert registry.aliases("m", place) == {"champion": registry.Alias(version="1", previous="")}


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_model_that_cannot_be_checked_is_not_deployed(tmp_path, place, model, damage):
    other = changed(model, tmp_path / "other", "4" * 64)
    if damage == "missing":
        (other / "golden.json").unlink()
    else:
        (other / "golden.json").write_text({"empty": "[]", "cut": '[{"inputs"'}[damage])
    local.register(other, None, name="m", registry=place)
    with pytest.raises(DataError, match=r"golden\.json"):
        local.deploy(registry=place, name="m", version="1")
    assert registry.find("m@champion", place) is None


def test_weights_that_were_damaged_are_not_deployed(tmp_path, place, model):
    registered = local.register(model, None, name="m", registry=place)
    weights = Path(registered.uri) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="does not load"):
        local.deploy(registry=place, name="m", version="1")
    assert registry.find("m@champion", place) is None


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"version": "2"}, "version="),
        ({"version": "champion"}, "version="),
        ({"name": "../m"}, "name="),
        ({"alias": "1"}, "alias="),
        ({"registry": "gs://bucket"}, "registry="),
    ],
)
def test_what_cannot_be_deployed_is_named(place, model, arguments, argument):
    local.register(model, None, name="m", registry=place)
    local.deploy(registry=place, name="m", version="1")
    with pytest.raises(ArgumentError, match=argument):
        local.deploy(**{"registry": place, "name": "m", "version": "1", **arguments})


def test_a_model_that_is_not_registered_is_named():
    with pytest.raises(ArgumentError, match=r"registered=.*give a model from register_local_model.*'registry'"):
        local.registered({"base_model": "sample:minilm", "fingerprint": "0" * 64})
    assert local.registered({"registry": "r", "name": "m", "version": "1", "fingerprint": "0"}) == {
        "registry": "r",
        "name": "m",
        "version": "1",
    }


def test_arguments_are_checked_before_anything_slow_is_imported(tmp_path):
    code = """
import sys
from pathlib import Path
from hfpc.errors import HfpcError
from hfpc.sinks import local
for act in (
    lambda: local.register(Path("none"), None, name="../m"),
    lambda: local.register(Path("none"), None, name="m"),
    lambda: local.deploy(name="m", version="1"),
    lambda: local.deploy(name="m", version="1", alias="7"),
):
    try:
        act()
    except HfpcError:
        assert not {"torch", "transformers", "kfp"} & set(sys.modules)
    else:
        raise AssertionError
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HFPC_HOME": str(tmp_path), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_processes_that_deploy_at_once_leave_one_of_their_versions(tmp_path, place, model):
    local.register(model, None, name="m", registry=place)
    local.register(changed(model, tmp_path / "second", "2" * 64), None, name="m", registry=place)
    code = """
import sys
from hfpc.sinks import local
endpoint = local.deploy(registry=sys.argv[1], name="m", version=sys.argv[2])
print(endpoint.version, endpoint.previous_version or "-")
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, place, version], stdout=subprocess.PIPE, text=True)
        for version in ("1", "2")
    ]
    told = [process.communicate()[0].split() for process in processes]
    assert sorted(told) in ([["1", "-"], ["2", "1"]], [["1", "2"], ["2", "-"]])
    last = next(version for version, previous in told if previous != "-")
    assert registry.find("m@champion", place).name == last
