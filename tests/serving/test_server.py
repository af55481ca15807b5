"""Servers in processes of their own, asked over loopback. Each start takes about ten seconds, so two are shared."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from hfpc import golden, registry
from hfpc.errors import ArgumentError, EndpointError
from hfpc.inference.predictor import Predictor
from hfpc.serving import state
from hfpc.serving.client import Client
from hfpc.serving.predict import predict
from hfpc.serving.running import find, running
from hfpc.serving.server import ServerConfig, serve
from hfpc.serving.test_endpoint import TestEndpointConfig, test_endpoint
from hfpc.sinks import local
from tests.conftest import save_model
from tests.sinks.test_local import with_wrong_label

INPUTS = ["i love this day", "my phone is terrible", "ada lovelace was in paris"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A `$HFPC_HOME` for the module, since its servers live as long."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HFPC_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def second_model(tmp_path_factory, base_model, dataset) -> Path:
    return save_model(tmp_path_factory.mktemp("second_model"), base_model, dataset, seed=1)


@pytest.fixture(scope="module")
def registered(home, model, second_model, tagging_model):
    """`tweets` with versions 1 and 2, `names` with version 1; both have a champion, version 1."""
    for name, folder in (("tweets", model), ("tweets", second_model), ("names", tagging_model)):
        local.register(folder, None, name=name)
    return {name: local.deploy(name=name, version="1") for name in ("tweets", "names")}


@pytest.fixture(scope="module")
def urls(registered):
    """A server of each champion, started at once."""
    found = {}

    def start(name, stack):
        found[name] = stack.enter_context(running(f"{name}@champion"))

    with ExitStack() as first, ExitStack() as second:
        threads = [threading.Thread(target=start, args=pair) for pair in (("tweets", first), ("names", second))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.keys() == {"tweets", "names"}
        yield found


def endpoint(deployed) -> dict[str, str | bool]:
    """The metadata that `deploy_local` gives its artifact."""
    names = ("registry", "name", "alias", "version", "previous_version", "moved")
    return {"platform": "local", **{name: getattr(deployed, name) for name in names}}


def labels(responses):
    """The labels of each response, whatever the task."""
    return [[part.get("label", part.get("entity_group")) for part in response] for response in responses]


@contextmanager
def a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_the_hubs_client_classifies_texts(urls, model, monkeypatch):
    from huggingface_hub import InferenceClient, constants
    from huggingface_hub.errors import HfHubHTTPError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it refuses even this machine's own address
    client = InferenceClient(model=urls["tweets"])
    given = client.text_classification(INPUTS[0])
    assert [(part.label, pytest.approx(part.score, abs=1e-5)) for part in given] == [
        (part["label"], part["score"]) for part in Predictor(model).respond(INPUTS[:1])[0]
    ]
    assert len(client.text_classification(INPUTS[0], top_k=1)) == 1
    with pytest.raises(HfHubHTTPError, match="top_k=0: give a whole number"):
        client.text_classification(INPUTS[0], top_k=0)


def test_the_hubs_client_classifies_tokens(urls, tagging_model, monkeypatch):
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    client = InferenceClient(model=urls["names"])
    expected = Predictor(tagging_model).respond([INPUTS[2]], {"ignore_labels": []})[0]
    given = client.token_classification(INPUTS[2], ignore_labels=[], aggregation_strategy="simple")
    assert given
    assert [(part.entity_group, part.word, part.start, part.end) for part in given] == [
        (part["entity_group"], part["word"], part["start"], part["end"]) for part in expected
    ]


@pytest.mark.parametrize(("name", "kind"), [("tweets", "model"), ("names", "tagging_model")])
def test_every_way_to_predict_gives_the_same(request, urls, registered, name, kind):
    folder = request.getfixturevalue(kind)
    inputs = INPUTS * 15  # more than one request takes
    expected = labels(predict(str(folder), inputs))
    assert len(expected) == 45
    assert labels(predict(f"{name}@champion", inputs)) == expected
    assert labels(predict(urls[name], inputs)) == expected
    assert labels(predict(f"{name}@champion", inputs, served=True)) == expected
    assert labels(local.predict(registered[name], inputs)) == expected


def test_parameters_reach_the_model(urls):
    for target in ("tweets@1", urls["tweets"]):
        assert [len(response) for response in predict(target, INPUTS, parameters={"top_k": 1})] == [1, 1, 1]
    with pytest.raises(EndpointError, match=r"answered 400: .*temperature"):
        predict(urls["tweets"], INPUTS, parameters={"temperature": 1})


def test_what_cannot_be_predicted_is_named(urls, home):
    with pytest.raises(ArgumentError, match="give at least one"):
        predict("tweets@1", [])
    with pytest.raises(ArgumentError, match="give a model folder that exists"):
        predict("no/folder", ["a"])
    with pytest.raises(ArgumentError, match="give one of tweets@champion"):
        predict("tweets@none", ["a"], served=True)
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    with pytest.raises(EndpointError, match="does not answer"):
        predict(f"http://127.0.0.1:{port}", ["a"])
    with pytest.raises(EndpointError, match="answered 404: Not Found"):
        predict(f"{urls['tweets']}/health/none", ["a"])


@pytest.mark.parametrize("name", ["tweets", "names"])
def test_an_endpoint_that_runs_is_tested(urls, registered, name, capfd):
    before = {serving.pid for serving in state.all_servers()}
    result = test_endpoint(TestEndpointConfig(requests=20), endpoint(registered[name]))
    assert {serving.pid for serving in state.all_servers()} == before
    metrics = result.metrics
    assert metrics["requests"] == 20
    assert 0 < metrics["latency_ms_p50"] <= metrics["latency_ms_p95"] <= metrics["latency_ms_p99"] < 1000
    assert "progress 20/20 requests" in capfd.readouterr().err


def test_small_requests_do_not_wait_for_acknowledgements(urls):
    """Without TCP_NODELAY nearly each takes 40 ms and more, however small the model and idle the machine."""
    seconds = []
    with Client(urls["tweets"]) as client:
        for _ in range(40):
            start = time.perf_counter()
            client.ask(INPUTS[:1])
            seconds.append(time.perf_counter() - start)
    fastest = sorted(seconds[10:])  # the first ones are acknowledged at once
    assert fastest[5] < 0.035


def test_an_endpoint_over_the_limit_fails(urls, registered):
    with pytest.raises(EndpointError, match=r"took up to \d+\.\d ms, over max_latency_ms=0\.001: raise the limit"):
        test_endpoint(TestEndpointConfig(max_latency_ms=0.001, requests=3), endpoint(registered["tweets"]))


def test_a_failing_test_puts_the_alias_back_when_told_to(urls, registered):
    local.deploy(name="tweets", version="1", alias="trial")
    deployed = local.deploy(name="tweets", version="2", alias="trial")
    too_strict = TestEndpointConfig(max_latency_ms=0.001, requests=3, roll_back=True)
    with pytest.raises(EndpointError, match=r"(?s)over max_latency_ms.*tweets@trial means version 1 again"):
        test_endpoint(too_strict, endpoint(deployed))
    assert registry.find("tweets@trial").name == "1"


def test_any_failure_puts_the_alias_back(registered):
    """The golden requests are gone, which is not the endpoint's fault."""
    local.deploy(name="tweets", version="1", alias="trial2")
    deployed = local.deploy(name="tweets", version="2", alias="trial2")
    file = registry.find("tweets@2") / "golden.json"
    kept = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(EndpointError, match=r"(?s)golden\.json.*tweets@trial2 means version 1 again"):
            test_endpoint(TestEndpointConfig(roll_back=True), endpoint(deployed))
    finally:
        file.write_bytes(kept)
    assert registry.find("tweets@trial2").name == "1"


def test_an_alias_that_this_deployment_did_not_move_stays(registered):
    for version in ("1", "2"):
        local.deploy(name="tweets", version=version, alias="trial3")
    again = local.deploy(name="tweets", version="2", alias="trial3")
    assert (again.moved, again.previous_version) == (False, "1")
    too_strict = TestEndpointConfig(max_latency_ms=0.001, requests=3, roll_back=True)
    with pytest.raises(EndpointError, match=r"over max_latency_ms=0\.001: [^\n]*$"):
        test_endpoint(too_strict, endpoint(again))
    assert registry.find("tweets@trial3").name == "2"


def test_an_endpoint_that_answers_otherwise_fails(urls, registered, tmp_path):
    """The golden requests of the registered copy are changed, as if the server had gone wrong."""
    folder = registry.find("tweets@champion")
    kept = (folder / "golden.json").read_bytes()
    wrong = with_wrong_label(folder, tmp_path / "wrong", "5" * 64)
    try:
        shutil.copy(wrong / "golden.json", folder)
        with pytest.raises(EndpointError, match="'i love this day' gave") as caught:
            test_endpoint(TestEndpointConfig(), endpoint(registered["tweets"]))
        assert str(caught.value).count("gave") == 1
    finally:
        (folder / "golden.json").write_bytes(kept)
    assert registry.find("tweets@champion") == folder


def test_what_cannot_be_tested_is_named(urls, registered):
    with pytest.raises(ArgumentError, match="from deploy_local"):
        test_endpoint(TestEndpointConfig(), {**endpoint(registered["tweets"]), "platform": "vertex"})
    with pytest.raises(EndpointError, match="means version 1 by now and not 2"):
        test_endpoint(TestEndpointConfig(), {**endpoint(registered["tweets"]), "version": "2"})
    for wrong in ({"max_latency_ms": 0}, {"max_latency_ms": float("nan")}, {"requests": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            TestEndpointConfig(**wrong)


def test_a_server_follows_its_alias_without_missing_a_request(urls, registered, second_model):
    """Requests go on while the alias moves; each is answered by one version or the other."""
    failed, answered, stopping = [], [], threading.Event()

    def ask():
        with Client(urls["tweets"]) as client:
            while not stopping.wait(0.02):
                try:
                    answered.append(client.ask(INPUTS))
                except EndpointError as error:
                    failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        deployed = local.deploy(name="tweets", version="2")
        # The old one does not count for the new one: this waits for the switch.
        assert find("tweets@champion") == urls["tweets"]
        with Client(urls["tweets"]) as client:
            assert client.describe()["version"] == "2"
            given = client.ask(INPUTS)
        expected = Predictor(second_model).respond(INPUTS)
        assert [scores(response) for response in given] == [scores(response) for response in expected]
        test_endpoint(TestEndpointConfig(requests=3), endpoint(deployed))
    finally:
        stopping.set()
        asking.join()
        local.deploy(name="tweets", version="1")
        assert find("tweets@champion") == urls["tweets"]
    assert answered and not failed


def scores(response):
    return [(part["label"], round(part["score"], 4)) for part in response]


def test_a_server_that_does_not_switch_does_not_count(urls, registered):
    """What its target means comes to be a model that does not load, so it goes on with the one before."""
    serving = next(serving for serving in state.all_servers() if serving.url == urls["names"])
    with pytest.raises(EndpointError, match=f"still serves .* stop process {serving.pid}"):
        find_with_a_model_that_does_not_load("names@champion")


def find_with_a_model_that_does_not_load(target):
    """The registered folder is given another fingerprint and loses its weights; both are put back."""
    file = registry.find(target) / "hfpc.json"
    kept = file.read_text()
    try:
        weights = file.with_name("model.safetensors")
        weights.rename(file.with_name("hidden"))
        file.write_text(kept.replace(registry.fingerprint(file.parent), "6" * 64))
        return find(target, timeout=3)
    finally:
        weights.with_name("hidden").rename(weights)
        file.write_text(kept)


def test_stale_files_name_no_server(urls, registered, home):
    """Files of a dead process, of a process that is no server, of nonsense, and of another's address."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with a_taken_port() as silent:
        common = {"target": "tweets@2", "name": "tweets@2", "registry": str(home / "registry"), "version": "2"}
        state.write(state.Serving(url=urls["tweets"], pid=dead.pid, **common))
        state.write(state.Serving(url=urls["tweets"], pid=os.getpid(), **common))
        state.write(state.Serving(url=f"http://127.0.0.1:{silent}", pid=os.getppid(), **common))
        (home / "serving" / "1.json").write_text("{")
        try:
            assert find("tweets@2") is None
            assert not (home / "serving" / f"{dead.pid}.json").exists()
            assert not (home / "serving" / "1.json").exists()
        finally:
            state.remove(os.getpid())
            state.remove(os.getppid())
    assert find("tweets@champion") == urls["tweets"]
    assert find("tweets@champion", str(home / "registry")) == urls["tweets"]


def test_a_port_that_is_taken_is_known_before_the_model_is_loaded(model):
    with a_taken_port() as port:
        start = time.monotonic()
        with pytest.raises(ArgumentError, match=f"port={port}: .*in use.*: give another port"):
            serve(ServerConfig(target=str(model), port=port))
        done = subprocess.run(
            [sys.executable, "-m", "hfpc.serving.server", str(model), "--port", str(port)],
            capture_output=True,
            text=True,
        )
        assert time.monotonic() - start < 10
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: port={port}: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"target": "none@champion"}, "target="),
        ({"target": "/no/folder"}, "target="),
        ({"port": 70000}, "port="),
        ({"host": "256.1.1.1"}, "host="),
        ({"host": "192.0.2.1"}, "host="),
    ],
)
def test_what_cannot_be_served_is_named(home, model, arguments, argument):
    with pytest.raises(ArgumentError, match=argument):
        serve(ServerConfig(**{"target": str(model), **arguments}))


def test_an_endpoint_that_does_not_run_is_started_and_stopped(registered, tagging_model):
    """By the version, which no server of this module serves."""
    folder = registry.find("names@1")
    assert find("names@1") is None
    before = {process.pid for process in psutil.Process().children()}
    given = predict("names@1", INPUTS, served=True)
    assert labels(given) == labels(Predictor(tagging_model).respond(INPUTS))
    assert {process.pid for process in psutil.Process().children()} == before
    assert not [serving for serving in state.all_servers() if serving.target == "names@1"]
    assert golden.read(folder)


@pytest.mark.slow
def test_a_server_that_cannot_load_its_model_says_why(model, tmp_path, home):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(EndpointError, match=r"(?s)status 1:\n.*does not load"), running(str(broken)):
        pytest.fail("it came up")


@pytest.mark.slow
def test_a_server_ends_with_the_process_that_started_it(registered, home):
    code = """
from hfpc.serving.running import running
with running("tweets@2") as url:
    print(url, flush=True)
    input()
"""
    pipe = subprocess.PIPE
    starter = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    url = starter.stdout.readline().strip()
    [serving] = [serving for serving in state.all_servers() if serving.target == "tweets@2"]
    assert serving.url == url == find("tweets@2")
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    psutil.Process(serving.pid).wait(15) if psutil.pid_exists(serving.pid) else None
    assert not psutil.pid_exists(serving.pid)
    assert not (home / "serving" / f"{serving.pid}.json").exists()
