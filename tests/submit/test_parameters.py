"""Parameters: their types, their names, and the checks before anything starts."""

import pytest

from hfpc.errors import ArgumentError
from hfpc.submit.find import find
from hfpc.submit.graph import Graph
from hfpc.submit.parameters import check, resolve
from tests.submit import TOY


@pytest.fixture(scope="module")
def spec():
    return find("finetune_local")


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("epochs", "1", 1.0),
        ("epochs", 2, 2.0),
        ("learning_rate", "1e-4", 1e-4),
        ("batch_size", "16", 16),
        ("batch_size", "1e2", 100),
        ("labels", "negative,positive", ["negative", "positive"]),
        ("labels", "negative, positive", ["negative", "positive"]),
        ("labels", '["a, b", "c"]', ["a, b", "c"]),
        ("labels", "", []),
        ("columns", '{"text": "tweet"}', {"text": "tweet"}),
        ("columns", {"text": "tweet"}, {"text": "tweet"}),
        ("name", "a=b", "a=b"),
        ("name", 7, "7"),
    ],
)
def test_text_becomes_the_type_of_the_signature(spec, name, given, wanted):
    value = resolve(spec, {name: given})[name]
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("name", "given", "fix"),
    [
        ("epochs", "many", "give a number"),
        ("epochs", True, "give a number"),
        ("batch_size", "1.5", "give a whole number"),
        ("batch_size", "inf", "give a whole number"),
        ("labels", "[1", "give items with commas"),
        ("columns", "text", "give a JSON object"),
        ("columns", "[1]", "give a JSON object"),
        ("name", ["x"], "give text"),
    ],
)
def test_values_that_do_not_fit_are_refused(spec, name, given, fix):
    with pytest.raises(ArgumentError, match=fix) as caught:
        resolve(spec, {name: given})
    assert (caught.value.argument, caught.value.value) == (name, given)


def test_an_unknown_name_gets_the_closest_valid_one(spec):
    with pytest.raises(ArgumentError, match="did you mean epochs"):
        resolve(spec, {"epoch": 1})
    with pytest.raises(ArgumentError, match=r"valid are base_model, .*source"):
        resolve(spec, {"zzz": 1})


def test_defaults_are_filled_in_with_their_types(spec):
    values = resolve(spec, {})
    assert values["batch_size"] == 32
    assert isinstance(values["batch_size"], int)
    assert values["labels"] == []
    assert list(values) == sorted(values)


def test_a_missing_parameter_is_named():
    with pytest.raises(ArgumentError, match=r"kind=None: the pipeline needs this parameter; give a value to it$"):
        resolve(find(f"{TOY}:failing"), {})


def test_all_missing_parameters_are_named_at_once():
    with pytest.raises(ArgumentError, match=r"role=None: .* give a value to it, to staging_uri$"):
        resolve(find("finetune_sagemaker"), {})


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"epochs": -1}, "epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"task": "poetry"}, "task"),
        ({"label_weights": "heavy"}, "label_weights"),
        ({"min_gain": -1}, "min_gain"),
        ({"max_latency_ms": 0}, "max_latency_ms"),
        ({"name": "no spaces allowed"}, "name"),
        ({"name": "team/tweets"}, "name"),
        ({"registry": "gs://bucket/registry"}, "registry"),
        ({"min_metrics": {"accurcy": 0.9}}, "min_metrics"),
        ({"base_model": "sample:none"}, "base_model"),
        ({"base_model": "./no-such-folder"}, "base_model"),
        ({"base_model": "no-such-folder/"}, "base_model"),
        ({"base_model": "a/b/c"}, "base_model"),
        ({"base_revision": "main"}, "base_revision"),
        ({"source": "sample:none"}, "source"),
        ({"source": ""}, "source"),
        ({"source_extra": {"delimeter": ";"}}, "source_extra"),
        ({"validation_share": 1.5}, "validation_share"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_every_configuration_validates_before_the_run(spec, given, argument):
    with pytest.raises(ArgumentError) as caught:
        check(Graph(spec=spec, parameters=resolve(spec, given)))
    assert (caught.value.argument, caught.value.value) == (argument, given[argument])


@pytest.mark.parametrize("pipeline", ["finetune_sagemaker", "vertex_to_sagemaker"])
@pytest.mark.parametrize(
    ("given", "argument", "fix"),
    [
        ({"instance_type": ""}, "instance_type", "name the instance type of a realtime endpoint"),
        ({"mode": "serverless"}, "instance_type", "no instances, so no GPUs either"),
        ({"mode": "async"}, "output_uri", "an async endpoint answers on S3"),
        ({"max_instances": 4}, "scaling_target", "give the requests a minute"),
        ({"role": "admin"}, "role", "give the ARN"),
        ({"staging_uri": "gs://models"}, "staging_uri", "give a place on S3"),
        ({"name": "no_underscores"}, "name", "use letters, digits"),
        ({"deployment_extra": {"capture": "s3://models"}}, "deployment_extra", "known are capture_percent, "),
        ({"deployment_extra": {"tags": "team"}}, "deployment_extra", "give dict for tags"),
        ({"deployment_extra": {"capture_percent": 0}}, "capture_percent", "give percent, 1 to 100"),
    ],
)
def test_a_deployment_on_sagemaker_validates_before_the_run(pipeline, given, argument, fix):
    working = {
        "role": "arn:aws:iam::123456789012:role/serving",
        "region": "us-east-1",
        "staging_uri": "s3://models/staged",
        "instance_type": "ml.m7i.large",
    }
    spec = find(pipeline)
    check(Graph(spec=spec, parameters=resolve(spec, working)))
    with pytest.raises(ArgumentError, match=fix) as caught:
        check(Graph(spec=spec, parameters=resolve(spec, working | given)))
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("given", "argument", "fix"),
    [
        ({"machine_type": "Large"}, "machine_type", "give a machine type"),
        ({"machine_type": "g2-standard-4"}, "machine_type", "has accelerators: say which"),
        ({"accelerator_type": "NVIDIA_L4"}, "accelerator_count", "or neither"),
        ({"max_replicas": 0}, "max_replicas", "give at least min_replicas"),
        ({"canary_percent": 100}, "canary_percent", "give percent, 0 to 99"),
        ({"name": "no_underscores"}, "name", "lower case"),
    ],
)
def test_a_deployment_on_vertex_validates_before_the_run(given, argument, fix):
    working = {
        "project": "my-project",
        "location": "us-central1",
        "image": "us-central1-docker.pkg.dev/my-project/images/serving:1",
    }
    spec = find("finetune_vertex")
    check(Graph(spec=spec, parameters=resolve(spec, working)))
    with pytest.raises(ArgumentError, match=fix) as caught:
        check(Graph(spec=spec, parameters=resolve(spec, working | given)))
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("given", "argument", "fix"),
    [
        ({"runtime": "triton"}, "runtime", "give one of hfpc, huggingface"),
        ({"namespace": "No_Space"}, "namespace", "lower case"),
        ({"resources": {"cpu": "many"}}, "resources", "give amounts as Kubernetes"),
        ({"max_replicas": 0}, "max_replicas", "give at least 1"),
        ({"canary_percent": 100}, "canary_percent", "give percent, 0 to 99"),
        ({"ingress": "gateway"}, "ingress", "give http://HOST:PORT"),
        ({"service_account": "A"}, "service_account", "lower case"),
        ({"serving_extra": {"colour": "red"}}, "serving_extra", "known are deployment_mode"),
        ({"serving_extra": {"scale_metric": "luck"}}, "scale_metric", "give one of concurrency"),
    ],
)
def test_a_deployment_on_kubeflow_validates_before_the_run(given, argument, fix):
    spec = find("finetune_kubeflow")
    check(Graph(spec=spec, parameters=resolve(spec, {})))
    with pytest.raises(ArgumentError, match=fix) as caught:
        check(Graph(spec=spec, parameters=resolve(spec, given)))
    assert caught.value.argument == argument


def test_another_training_seed_keeps_the_split(spec):
    steps = {step.name.rpartition("/")[2]: step for step in Graph(spec=spec, parameters=resolve(spec, {})).steps}
    assert steps["load-dataset"].inputs["seed"].origin == "split_seed"
    assert steps["finetune"].inputs["seed"].origin == "seed"
    assert steps["finetune"].inputs["extra"].origin == "training_extra"


def test_the_defaults_pass(spec):
    check(Graph(spec=spec, parameters=resolve(spec, {})))


def test_pipelines_are_found_by_name_file_and_function(tmp_path):
    from hfpc.submit.compile import compile_pipeline

    compile_pipeline("finetune_local", "kubeflow", tmp_path / "mine.yaml")
    assert find(str(tmp_path / "mine.yaml"))["pipelineInfo"]["name"] == "finetune-local"
    assert find("finetune-local")["pipelineInfo"]["name"] == "finetune-local"
    with pytest.raises(ArgumentError, match="did you mean finetune_local"):
        find("finetune_locl")
    with pytest.raises(ArgumentError, match="did you mean chain"):
        find(f"{TOY}:chian")
    with pytest.raises(ArgumentError, match="no such file"):
        find(str(tmp_path / "none.yaml"))
    with pytest.raises(ArgumentError, match="no such file"):
        find(f"{tmp_path}/none.py:x")
    (tmp_path / "text.yaml").write_text("a: b")
    with pytest.raises(ArgumentError, match="not a compiled pipeline"):
        find(str(tmp_path / "text.yaml"))
