"""The endpoints of the loopback Vertex AI, answered by real servers."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from google.api import httpbody_pb2
from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format

from tests.cloud.vertex_containers import Containers
from tests.cloud.vertex_models import Models
from tests.cloud.vertex_names import numbered
from tests.cloud.vertex_resources import check_mask, check_names, check_parent, delete_metadata, now, page
from tests.cloud.vertex_wire import VertexError

PARENT = numbered("projects/test/locations/us-central1")

_ENDPOINT_ID = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}")
_DEPLOYED_ID = re.compile("[0-9]{1,10}")


class Endpoints(Models):
    """EndpointService and PredictionService.

    Attributes:
        containers: The servers that stand for the containers of deployed models.
        address: Host and port of REST, where dedicated endpoints answer too.
        spreading: Requests that still go where they went before, after the traffic of an endpoint was moved.
    """

    def __init__(self) -> None:
        super().__init__()
        self.containers = Containers()
        self.address = ""
        self.spreading = 0
        self._stale: dict[str, tuple[dict[str, int], int]] = {}  # endpoint to its split before, and requests left
        self._addresses: dict[str, str] = {}
        self._asked = 0
        self._deploying: list[tuple[str, str]] = []  # endpoint and id of a deployed model

    def reset(self) -> None:
        super().reset()
        self.spreading, self._stale = 0, {}
        self._deploying = []  # another list: what still starts takes itself off its own

    def CreateEndpoint(self, request: v1.CreateEndpointRequest) -> operations_pb2.Operation:
        check_parent(request.parent)
        endpoint = v1.Endpoint(request.endpoint)
        check_names(endpoint.display_name, endpoint.labels.items())
        if request.endpoint_id and not _ENDPOINT_ID.fullmatch(request.endpoint_id):
            raise VertexError("INVALID_ARGUMENT", f"Invalid endpoint_id {request.endpoint_id!r}")
        endpoint.name = f"{request.parent}/endpoints/{request.endpoint_id or self.new_number()}"
        if endpoint.name in self.objects:
            raise VertexError("ALREADY_EXISTS", f"Endpoint {endpoint.name} already exists.")
        endpoint.create_time = endpoint.update_time = now()
        if endpoint.dedicated_endpoint_enabled:
            endpoint.dedicated_endpoint_dns = self.address
        self.add(endpoint)
        return self.operation(endpoint.name, v1.CreateEndpointOperationMetadata(), lambda: endpoint)

    def GetEndpoint(self, request: v1.GetEndpointRequest) -> v1.Endpoint:
        return self.get(request.name, "Endpoint")

    def ListEndpoints(self, request: v1.ListEndpointsRequest) -> v1.ListEndpointsResponse:
        endpoints, token = page(self.listed(f"{request.parent}/endpoints/", request.filter), request)
        return v1.ListEndpointsResponse(endpoints=endpoints, next_page_token=token)

    def UpdateEndpoint(self, request: v1.UpdateEndpointRequest) -> v1.Endpoint:
        endpoint, given = self.get(request.endpoint.name, "Endpoint"), request.endpoint
        fields = check_mask(request.update_mask, "display_name", "description", "labels", "traffic_split")
        check_names(given.display_name if "display_name" in fields else "-", given.labels.items())
        with self._lock:
            if "traffic_split" in fields:
                _check_traffic(given.traffic_split, endpoint.deployed_models)
                self._stale[endpoint.name] = (dict(endpoint.traffic_split), self.spreading)
            for field in fields:
                setattr(endpoint, field, getattr(given, field))
        return endpoint

    def DeleteEndpoint(self, request: v1.DeleteEndpointRequest) -> operations_pb2.Operation:
        endpoint = self.get(request.name, "Endpoint")
        if endpoint.deployed_models or any(name == endpoint.name for name, _ in self._deploying):
            raise VertexError("FAILED_PRECONDITION", "Endpoint has deployed or being-deployed models.")
        del self.objects[request.name]
        return self.operation(endpoint.name, delete_metadata(), empty_pb2.Empty)

    def DeployModel(self, request: v1.DeployModelRequest) -> operations_pb2.Operation:
        endpoint, deployed = self.get(request.endpoint, "Endpoint"), v1.DeployedModel(request.deployed_model)
        model = self.version(deployed.model)
        if deployed.id and not _DEPLOYED_ID.fullmatch(deployed.id):
            raise VertexError("INVALID_ARGUMENT", f"Invalid DeployedModel id {deployed.id!r}")
        if not deployed.dedicated_resources.machine_spec.machine_type:
            raise VertexError("INVALID_ARGUMENT", "dedicated_resources.machine_spec.machine_type is required.")
        if deployed.dedicated_resources.min_replica_count < 1:
            raise VertexError("INVALID_ARGUMENT", "min_replica_count must be at least 1.")
        deployed.id = deployed.id or str(self.new_number())
        deployed.create_time, deployed.model_version_id = now(), model.version_id
        deployed.model = model.name
        traffic = {deployed.id if key == "0" else key: share for key, share in request.traffic_split.items()}
        place = (endpoint.name, deployed.id)
        with self._lock:
            if place in self._deploying or any(other.id == deployed.id for other in endpoint.deployed_models):
                raise VertexError("ALREADY_EXISTS", f"There is a DeployedModel {deployed.id} already.")
            if traffic:
                _check_traffic(traffic, [*endpoint.deployed_models, deployed])
            deploying = self._deploying
            deploying.append(place)

        def start() -> v1.DeployModelResponse:
            try:
                self._addresses[deployed.id] = self.containers.address(model)
                with self._lock:
                    endpoint.deployed_models = [*endpoint.deployed_models, deployed]
                    if traffic:
                        endpoint.traffic_split = traffic
            finally:
                deploying.remove(place)
            return v1.DeployModelResponse(deployed_model=deployed)

        return self.operation(endpoint.name, v1.DeployModelOperationMetadata(), start)

    def UndeployModel(self, request: v1.UndeployModelRequest) -> operations_pb2.Operation:
        endpoint = self.get(request.endpoint, "Endpoint")
        if all(each.id != request.deployed_model_id for each in endpoint.deployed_models):
            raise VertexError("NOT_FOUND", f"There is no DeployedModel {request.deployed_model_id}.")
        rest = [each for each in endpoint.deployed_models if each.id != request.deployed_model_id]
        traffic = dict(request.traffic_split or endpoint.traffic_split)
        if rest and traffic.get(request.deployed_model_id):
            raise VertexError("FAILED_PRECONDITION", "The DeployedModel still has traffic.")
        traffic = {key: share for key, share in traffic.items() if key != request.deployed_model_id}
        if request.traffic_split:
            _check_traffic(traffic, rest)
        endpoint.deployed_models, endpoint.traffic_split = rest, traffic if rest else {}
        return self.operation(endpoint.name, v1.UndeployModelOperationMetadata(), v1.UndeployModelResponse)

    def MutateDeployedModel(self, request: v1.MutateDeployedModelRequest) -> operations_pb2.Operation:
        endpoint, given = self.get(request.endpoint, "Endpoint"), request.deployed_model
        deployed = next((each for each in endpoint.deployed_models if each.id == given.id), None)
        if deployed is None:
            raise VertexError("NOT_FOUND", f"There is no DeployedModel {given.id}.")
        changeable = ("min_replica_count", "max_replica_count", "autoscaling_metric_specs")
        for path in check_mask(request.update_mask, *(f"dedicated_resources.{field}" for field in changeable)):
            field = path.rpartition(".")[2]
            setattr(deployed.dedicated_resources, field, getattr(given.dedicated_resources, field))
        metadata = v1.MutateDeployedModelOperationMetadata()
        return self.operation(endpoint.name, metadata, lambda: v1.MutateDeployedModelResponse(deployed_model=deployed))

    def Predict(self, request: v1.PredictRequest) -> v1.PredictResponse:
        """The container is asked in JSON; both ways pass through protobuf, which knows no whole numbers."""
        content: dict[str, Any] = {"instances": [json_format.MessageToDict(value) for value in request._pb.instances]}
        if request._pb.HasField("parameters"):
            content["parameters"] = json_format.MessageToDict(request._pb.parameters)
        deployed = self._chosen(request.endpoint)
        answer = self._ask(deployed, json.dumps(content).encode(), "application/json")
        response = v1.PredictResponse(
            deployed_model_id=deployed.id, model=deployed.model, model_version_id=deployed.model_version_id
        )
        json_format.ParseDict({"predictions": answer.json()["predictions"]}, response._pb)
        return response

    def RawPredict(self, request: v1.RawPredictRequest) -> httpbody_pb2.HttpBody:
        body = request.http_body
        answer = self._ask(self._chosen(request.endpoint), body.data, body.content_type)
        return httpbody_pb2.HttpBody(content_type=answer.headers["content-type"], data=answer.content)

    def deploy(self, number: str, container: str, *, dedicated: bool = False) -> str:
        """Makes an endpoint of one deployed model; returns its resource name.

        Args:
            number: Id of the endpoint and of what it holds.
            container: Address of the predict route of the model's server.
            dedicated: Whether clients ask at the endpoint's own DNS name instead of the region's.
        """
        deployed = v1.DeployedModel(id=number, model=f"{PARENT}/models/{number}", model_version_id="1")
        endpoint = v1.Endpoint(
            name=f"{PARENT}/endpoints/{number}",
            display_name=number,
            deployed_models=[deployed],
            traffic_split={number: 100},
        )
        if dedicated:
            endpoint.dedicated_endpoint_enabled = True
            endpoint.dedicated_endpoint_dns = self.address
        self._addresses[number] = container
        self.objects[endpoint.name] = endpoint
        return endpoint.name

    def _chosen(self, name: str) -> v1.DeployedModel:
        """The deployed model whose turn it is: of 100 requests each gets its share, in the order of the split."""
        endpoint = self.get(name, "Endpoint")
        if not endpoint.traffic_split:
            raise VertexError("FAILED_PRECONDITION", f"{name} has no deployed model with traffic.")
        with self._lock:
            turn = self._asked * 37 % 100  # 37 spreads the turns: each of 100 comes once
            self._asked += 1
            before, left = self._stale.get(name, ({}, 0))
            self._stale[name] = (before, max(left - 1, 0))
        split = before if left and before else endpoint.traffic_split
        for key, share in sorted(split.items()):
            if turn < share:
                return next(each for each in endpoint.deployed_models if each.id == key)
            turn -= share
        raise AssertionError("the shares do not add up to 100")

    def _ask(self, deployed: v1.DeployedModel, body: bytes, content_type: str) -> httpx.Response:
        """The answer of a model's container; its errors are the endpoint's."""
        address, headers = self._addresses[deployed.id], {"Content-Type": content_type}
        answer = self.containers.client.post(address, content=body, headers=headers)
        if answer.is_client_error:
            raise VertexError("FAILED_PRECONDITION", answer.text)
        if answer.is_error:
            raise VertexError("UNAVAILABLE" if answer.status_code == 503 else "INTERNAL", answer.text)
        return answer


def _check_traffic(traffic: Mapping[str, int], deployed: Iterable[v1.DeployedModel]) -> None:
    """Every share is one of a deployed model, and they add up; none at all lets nobody in, which is allowed."""
    if not set(traffic) <= {each.id for each in deployed}:
        raise VertexError("INVALID_ARGUMENT", f"The traffic split names unknown deployed models: {dict(traffic)}")
    if traffic and (sum(traffic.values()) != 100 or min(traffic.values()) < 0):
        raise VertexError("INVALID_ARGUMENT", f"The traffic split must add up to 100: {dict(traffic)}")
