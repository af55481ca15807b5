"""The platforms' own clients ask our server, each through its platform on loopback, and get the golden labels."""

import csv
import io
import json
import threading
from contextlib import ExitStack

import httpx
import pytest

from hfpc import golden, manifest, tasks
from hfpc.serving.running import running

ROLE = "arn:aws:iam::123456789012:role/serving"
PREDICT_ROUTE = "/vertex/predict"


class Served:
    """A model folder and its server.

    Attributes:
        name: What the server calls it: the folder's name.
        url: Where the server answers.
        requests: The model's golden requests.
        inputs: Their inputs.
    """

    def __init__(self, folder, url):
        self.name = folder.name
        self.url = url
        self.requests = golden.read(folder)
        self.inputs = [request["inputs"] for request in self.requests]
        self._task = tasks.get(manifest.read(folder).task)

    def assert_golden(self, responses):
        assert golden.differences(self._task, self.requests, responses) == []


@pytest.fixture(scope="module")
def servers(model, tagging_model, tmp_path_factory):
    """A server of each tiny model, started at once, where Vertex AI says its routes."""
    found = {}

    def start(folder, stack):
        found[folder] = Served(folder, stack.enter_context(running(str(folder))))

    with pytest.MonkeyPatch.context() as patch, ExitStack() as first, ExitStack() as second:
        patch.setenv("HFPC_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("AIP_PREDICT_ROUTE", PREDICT_ROUTE)
        threads = [threading.Thread(target=start, args=pair) for pair in ((model, first), (tagging_model, second))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.keys() == {model, tagging_model}
        yield found


@pytest.fixture(params=["model", "tagging_model"])
def served(request, servers):
    return servers[request.getfixturevalue(request.param)]


@pytest.fixture
def tweets(servers, model):
    return servers[model]


@pytest.fixture(scope="module")
def aws(sagemaker):
    """Makes a client of a service."""
    import boto3

    session = boto3.Session("test", "test", region_name="us-east-1")
    return lambda service: session.client(service, endpoint_url=sagemaker.url)


@pytest.fixture
def invoke(sagemaker, aws, served):
    """Asks a SageMaker endpoint of the model, made as users make one; returns the body and its media type."""
    name, image = served.name.replace("_", "-"), f"hfpc/{served.name}:test"
    sagemaker.containers[image] = served.url
    control, runtime = aws("sagemaker"), aws("sagemaker-runtime")
    control.create_model(ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)

    def ask(body, content_type, **options):
        answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=content_type, **options)
        assert answer["InvokedProductionVariant"] == "all"
        return answer["Body"].read().decode(), answer["ContentType"]

    yield ask
    control.delete_endpoint(EndpointName=name)
    control.delete_endpoint_config(EndpointConfigName=name)
    control.delete_model(ModelName=name)


def test_sagemaker_with_json(served, invoke):
    body, media_type = invoke(json.dumps({"inputs": served.inputs}), "application/json")
    assert media_type == "application/json"
    served.assert_golden(json.loads(body))


def test_sagemaker_with_json_lines(served, invoke):
    lines = "".join(json.dumps({"inputs": item}) + "\n" for item in served.inputs)
    body, media_type = invoke(lines, "application/jsonlines")
    assert media_type == "application/jsonlines"
    served.assert_golden([json.loads(line) for line in body.splitlines()])


def test_sagemaker_with_csv(served, invoke):
    table = io.StringIO()
    csv.writer(table).writerows([["inputs"], *([item] for item in served.inputs)])
    body, media_type = invoke(table.getvalue(), "text/csv")
    assert media_type == "application/json"
    served.assert_golden(json.loads(body))
    body, media_type = invoke(table.getvalue(), "text/csv", Accept="text/csv")
    assert media_type.startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(body)))
    served.assert_golden([json.loads(row["response"]) if "response" in row else [row] for row in rows])


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [(b'{"inputs": "a", "parameters": {"none": 1}}', "application/json", 400), (b"a", "text/plain", 415)],
)
def test_sagemaker_hands_on_what_the_server_refuses(aws, served, invoke, body, content_type, status):
    own = httpx.post(f"{served.url}/invocations", content=body, headers={"Content-Type": content_type})
    assert own.status_code == status
    errors = aws("sagemaker-runtime").exceptions
    with pytest.raises(errors.ModelError, match="Received client error") as caught:
        invoke(body, content_type)
    answer = caught.value.response
    assert answer["OriginalStatusCode"] == status
    assert answer["OriginalMessage"] == own.text and own.json()["error"]


def test_sagemaker_without_an_endpoint(aws):
    runtime = aws("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ValidationError, match="Endpoint nothing of account"):
        runtime.invoke_endpoint(EndpointName="nothing", Body=b"{}", ContentType="application/json")
    with pytest.raises(runtime.exceptions.ClientError, match="Endpoint nothing of account"):
        runtime.invoke_endpoint_async(EndpointName="nothing", InputLocation="s3://data/a")


@pytest.fixture(scope="module")
def aiplatform(vertex, certificate):
    """Vertex AI's SDK, pointed at loopback."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        aiplatform.init(
            project="test",
            location="us-central1",
            credentials=AnonymousCredentials(),
            api_endpoint=f"https://{vertex.address}",
            api_transport="rest",
        )
        yield aiplatform
    assert vertex.unknown_requests == []


@pytest.mark.parametrize("dedicated", [False, True])
def test_vertex(vertex, aiplatform, served, dedicated):
    """An endpoint with a DNS name of its own is asked another way by the SDK."""
    endpoint = aiplatform.Endpoint(vertex.deploy("1", served.url + PREDICT_ROUTE, dedicated=dedicated))
    given = endpoint.predict(instances=served.inputs)
    served.assert_golden(given.predictions)
    assert given.deployed_model_id == "1" and given.model_version_id == "1"


def test_vertex_passes_parameters(vertex, aiplatform, tweets):
    """Its numbers are fractions on the way, which a whole number has to survive."""
    endpoint = aiplatform.Endpoint(vertex.deploy("1", tweets.url + PREDICT_ROUTE))
    given = endpoint.predict(instances=[{"inputs": item} for item in tweets.inputs], parameters={"top_k": 1})
    assert [len(response) for response in given.predictions] == [1] * len(tweets.inputs)
    tweets.assert_golden(given.predictions)


def test_vertex_passes_a_raw_body(vertex, aiplatform, served):
    endpoint = aiplatform.Endpoint(vertex.deploy("1", served.url + PREDICT_ROUTE, dedicated=True))
    body = json.dumps({"instances": served.inputs}).encode()
    answer = endpoint.raw_predict(body=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    served.assert_golden(answer.json()["predictions"])


def test_vertex_hands_on_what_the_server_refuses(vertex, aiplatform, tweets):
    from google.api_core.exceptions import BadRequest, NotFound

    endpoint = aiplatform.Endpoint(vertex.deploy("1", tweets.url + PREDICT_ROUTE))
    with pytest.raises(BadRequest, match="top_k=0: give a whole number"):
        endpoint.predict(instances=tweets.inputs, parameters={"top_k": 0})
    with pytest.raises(NotFound, match="endpoints/2 is not found"):
        aiplatform.Endpoint("projects/test/locations/us-central1/endpoints/2").predict(instances=["a"])


def test_kserve_first_protocol(served):
    with httpx.Client(base_url=served.url) as client:
        [name] = client.get("/v1/models").json()["models"]
        assert client.get(f"/v1/models/{name}").json() == {"name": name, "ready": True}
        answer = client.post(f"/v1/models/{name}:predict", json={"instances": served.inputs})
        assert answer.status_code == 200, answer.text
        served.assert_golden(answer.json()["predictions"])
        assert client.post("/v1/models/another:predict", json={"instances": ["a"]}).status_code == 404


def test_kserve_second_protocol(served):
    tensor = {"name": "inputs", "shape": [len(served.inputs)], "datatype": "BYTES", "data": served.inputs}
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/v2/health/ready").status_code == 200
        assert client.get(f"/v2/models/{served.name}/ready").status_code == 200
        answer = client.post(f"/v2/models/{served.name}/infer", json={"id": "7", "inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == "7"
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        served.assert_golden([json.loads(response) for response in outputs["response"]])
        tensor["shape"] = [len(served.inputs) + 1]
        assert client.post(f"/v2/models/{served.name}/infer", json={"inputs": [tensor]}).status_code == 400
