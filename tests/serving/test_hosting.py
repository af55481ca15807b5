"""What each platform says in environment variables and mounted folders."""

import pytest

from hfpc.errors import ArgumentError
from hfpc.serving import hosting
from hfpc.serving.hosting import from_environment


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Folders that stand for those at fixed places: a function that puts a model into one of them."""
    places = {name: tmp_path / name for name in ("sagemaker", "hugging_face", "kserve")}
    monkeypatch.setattr(hosting, "_FOLDERS", tuple(map(str, places.values())))

    def put(name):
        save(places[name])
        return str(places[name])

    return put


def save(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_the_places_that_platforms_document():
    assert hosting._FOLDERS == ("/opt/ml/model", "/repository", "/mnt/models")


def test_no_platform(mounted):
    said = from_environment({})
    assert said.target == ""
    assert (said.host, said.port) == ("127.0.0.1", 8080)
    assert (said.predict_route, said.health_route) == ("/predict", "/health")


def test_a_transform_job_of_sagemaker_bounds_what_it_sends_itself(mounted):
    limits = from_environment({"SAGEMAKER_BATCH": "true"}).limits
    assert limits.body_bytes == 100 << 20 and limits.inputs == limits.queue == limits.body_bytes
    assert from_environment({}).limits is from_environment({"SAGEMAKER_BATCH": "false"}).limits is None


def test_vertex_ai(mounted):
    said = from_environment(
        {
            "AIP_STORAGE_URI": "gs://models/tweets",
            "AIP_HTTP_PORT": "8081",
            "AIP_HEALTH_ROUTE": "/v1/endpoints/1/health",
            "AIP_PREDICT_ROUTE": "/v1/endpoints/1:predict",
        }
    )
    assert (said.target, said.host, said.port) == ("gs://models/tweets", "0.0.0.0", 8081)
    assert said.predict_route == "/v1/endpoints/1:predict"
    assert said.health_route == "/v1/endpoints/1/health"


def test_vertex_ai_without_a_model_says_an_empty_uri(mounted):
    assert from_environment({"AIP_STORAGE_URI": "", "HF_MODEL_ID": "ann/tweets"}).target == "ann/tweets"


@pytest.mark.parametrize("name", ["sagemaker", "hugging_face", "kserve"])
def test_a_mounted_folder(mounted, name):
    folder = mounted(name)
    said = from_environment({})
    assert (said.target, said.host) == (folder, "0.0.0.0")


def test_an_empty_mounted_folder_is_none(mounted, tmp_path):
    (tmp_path / "sagemaker").mkdir()
    assert from_environment({}).target == ""
    folder = mounted("kserve")
    assert from_environment({}).target == folder


def test_sagemaker_says_the_port(mounted):
    assert from_environment({"SAGEMAKER_BIND_TO_PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    ("environment", "target"),
    [
        ({"HF_MODEL_ID": "ann/tweets"}, "ann/tweets"),
        ({"HF_MODEL_ID": "ann/tweets", "HF_MODEL_REVISION": "v1"}, "ann/tweets@v1"),
        ({"HF_MODEL_ID": "ann/tweets", "HF_REVISION": "v2"}, "ann/tweets@v2"),
        ({"HF_MODEL_ID": "ann/tweets", "HF_REVISION": ""}, "ann/tweets"),
        ({"HF_REVISION": "v1"}, ""),
    ],
)
def test_a_hub_model(mounted, environment, target):
    assert from_environment(environment).target == target


def test_a_named_model_goes_before_a_mounted_one(mounted):
    mounted("sagemaker")
    assert from_environment({"HF_MODEL_ID": "ann/tweets"}).target == "ann/tweets"


def test_azure_ml_names_the_folder_around_the_models_own(mounted, tmp_path):
    inner = save(tmp_path / "azureml-models" / "tweets" / "3" / "model")
    said = from_environment({"AZUREML_MODEL_DIR": str(inner.parent)})
    assert (said.target, said.host) == (str(inner), "0.0.0.0")


def test_azure_ml_names_the_models_own_folder(mounted, tmp_path):
    folder = save(tmp_path / "model")
    save(folder / "earlier")
    assert from_environment({"AZUREML_MODEL_DIR": str(folder)}).target == str(folder)


def test_azure_ml_with_several_models_names_none_of_them(mounted, tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "models" / name)
    assert from_environment({"AZUREML_MODEL_DIR": str(tmp_path / "models")}).target == str(tmp_path / "models")


@pytest.mark.parametrize("name", ["AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "PORT"])
@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "80.0"])
def test_a_port_that_is_none_is_named(mounted, name, value):
    with pytest.raises(ArgumentError, match=f"{name}=.*1 to 65535"):
        from_environment({name: value})


def test_the_platforms_own_port_goes_first(mounted):
    assert from_environment({"PORT": "1", "AIP_HTTP_PORT": "2"}).port == 2
    assert from_environment({"PORT": "1"}).port == 1


@pytest.mark.parametrize("name", ["AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"])
@pytest.mark.parametrize("value", ["predict", "/a{b}", "/a?b", "/a#b", "/a b"])
def test_a_route_that_is_none_is_named(mounted, name, value):
    with pytest.raises(ArgumentError, match=f"{name}=.*a path such as"):
        from_environment({name: value})


def test_a_container_of_vertex_ai_is_asked_from_outside_also_where_the_command_names_its_model():
    platform = from_environment({"AIP_HTTP_PORT": "8080"})
    assert (platform.target, platform.host, platform.drain_seconds) == ("", "0.0.0.0", 5.0)
