"""Calls to Vertex AI that leave one thing of a kind, whatever goes wrong on the way.

Everything that is made here gets an id of its own, derived from what it is, so that a call whose answer was lost can
be made again: the second finds what the first made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hfpc import google_cloud
from hfpc.errors import ArgumentError, EndpointError, HfpcError
from hfpc.sinks.patience import Patience

_NAME = re.compile("[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
_LOCATION = re.compile("[a-z]+-[a-z]+[0-9]{1,2}")
_PROJECT = re.compile(r"([a-z0-9.-]+\.[a-z]+:)?[a-z][a-z0-9-]{2,28}[a-z0-9]|[0-9]{6,20}")
_LABEL = re.compile("[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile("[a-z0-9_-]{0,63}")
_RESOURCE = re.compile("projects/([^/]+)/locations/([^/]+)/(models|endpoints)/([^/@]+)(@[^/]+)?")

MANAGED = {"managed-by": "hfpc"}
"""Label of everything that is made here; nothing without it is ever changed or removed."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A region of a project, and how it is asked.

    Attributes:
        project: Google Cloud project.
        location: Region, e.g. "us-central1".
        patience: How long is waited.
    """

    project: str
    location: str
    patience: Patience = field(default_factory=Patience)

    @property
    def parent(self) -> str:
        """The region's resource name."""
        return f"projects/{self.project}/locations/{self.location}"

    @cached_property
    def models(self) -> Any:
        """Client of the Model Registry."""
        return google_cloud.client("ModelServiceClient", self.location)

    @cached_property
    def endpoints(self) -> Any:
        """Client of endpoints."""
        return google_cloud.client("EndpointServiceClient", self.location)

    @cached_property
    def predictions(self) -> Any:
        """Client of predictions."""
        return google_cloud.client("PredictionServiceClient", self.location)

    @cached_property
    def jobs(self) -> Any:
        """Client of batch predictions."""
        return google_cloud.client("JobServiceClient", self.location)

    @cached_property
    def session(self) -> Any:
        """HTTP session, for addresses that belong to one endpoint."""
        return google_cloud.session()

    def ask(self, method: Callable[..., Any], request: Any) -> Any:
        """Makes a call that has the same effect when it is made twice; again after a failure that may pass."""
        for attempt in self.patience.retries():
            try:
                return method(request=request, retry=None, timeout=self.patience.call)
            except Exception as error:
                if attempt == self.patience.attempts or not google_cloud.may_pass(error):
                    raise
        raise AssertionError("there is at least one attempt")

    def found(self, method: Callable[..., Any], request: Any) -> Any:
        """What a call gives; None where there is no such thing."""
        from google.api_core.exceptions import NotFound

        try:
            return self.ask(method, request)
        except NotFound:
            return None

    def ensure(self, find: Callable[[], Any], make: Callable[[], Any]) -> Any:
        """What `find` gives, after `make` if there was nothing.

        A call to make something is repeated only once it is known that it made nothing: what was made may show late.

        Args:
            find: Gives the thing, or None.
            make: Makes it; may raise, and may have made it all the same. What it gives, if it gives something, is
                taken for the thing.
        """
        for attempt in self.patience.retries():
            found = find()
            if found is not None:
                return found
            try:
                made = make()
            except Exception as error:
                if (found := self._made_after_all(find, error)) is not None:
                    return found
                if attempt == self.patience.attempts or not (google_cloud.may_pass(error) or is_taken(error)):
                    raise
                continue
            if made is not None or (made := self.seen(find)) is not None:
                return made
            raise HfpcError(f"Vertex AI in {self.location} does not show what it was told to make: try again")
        raise AssertionError("there is at least one attempt")

    def seen(self, find: Callable[[], Any]) -> Any:
        """What `find` gives, asked for a while, as a list may show late what was just made; None where it stays so."""
        return next((found for _ in self.patience.looks() if (found := find()) is not None), None)

    def _made_after_all(self, find: Callable[[], Any], error: Exception) -> Any:
        """What a failed call made all the same; None where it made nothing."""
        from google.api_core.exceptions import Cancelled, ClientError, Conflict

        # What the service refused as wrong, or for being asked too often, was not done.
        refused = isinstance(error, ClientError) and not isinstance(error, (Conflict, Cancelled))
        return find() if refused else self.seen(find)

    def wait(self, client: Any, operation: Any) -> None:
        """Waits for a long operation.

        Raises:
            EndpointError: It ended with an error, or took too long.
        """
        raw = self._done(client, operation.operation)
        if raw.HasField("error"):
            raise EndpointError(f"Vertex AI could not do it: {' '.join(raw.error.message.split())}")

    def wait_for_operations(self, client: Any, resource: str) -> None:
        """Waits until no long operation on a resource is under way, however it ends.

        A step that was killed, or a call whose answer was lost, may have left one that nobody waits for.

        Raises:
            EndpointError: One took too long.
        """
        for raw in self._operations(client, resource):
            self._done(client, raw)

    def _operations(self, client: Any, resource: str) -> list[Any]:
        """The long operations on a resource; one that is not there yet may have none, or not be known."""
        found: list[Any] = []
        token = ""
        while True:
            answer = self.found(client.list_operations, {"name": resource, "page_token": token})
            if answer is None:
                return found
            found += answer.operations
            token = answer.next_page_token
            if not token:
                return found

    def _done(self, client: Any, raw: Any) -> Any:
        """A long operation when it is done."""
        for _ in self.patience.polls():
            if raw.done:
                return raw
            raw = self._poll(client, raw.name)
        raise EndpointError(f"{raw.name} was not done after {self.patience.total:g} seconds")

    def _poll(self, client: Any, name: str) -> Any:
        operations = client.transport.operations_client

        def get(*, request: str, retry: None, timeout: float) -> Any:
            return operations.get_operation(request, retry=retry, timeout=timeout)

        return self.ask(get, name)


def is_taken(error: Exception) -> bool:
    """Whether a call failed because the thing is there already."""
    from google.api_core.exceptions import Conflict

    return isinstance(error, Conflict)


def place_of(resource: str, argument: str, patience: Patience | None = None) -> Place:
    """The region that a model's or an endpoint's resource name names.

    Raises:
        ArgumentError: It is no such name.
    """
    found = _RESOURCE.fullmatch(resource)
    if not found:
        raise ArgumentError(argument, resource, "give projects/…/locations/…/models/… or …/endpoints/…")
    return Place(project=found[1], location=found[2], patience=patience or Patience())


def check_place(project: str, location: str) -> None:
    """Raises ArgumentError unless these are a project and a region."""
    if not _PROJECT.fullmatch(project):
        raise ArgumentError("project", project, "give the id or number of a Google Cloud project")
    if not _LOCATION.fullmatch(location):
        raise ArgumentError("location", location, "give a region, e.g. us-central1")


def check_name(name: str, argument: str = "name") -> None:
    """Raises ArgumentError unless a name can be part of a resource's name."""
    if not _NAME.fullmatch(name):
        fix = "start with a letter and use lower case letters, digits and hyphens, at most 50"
        raise ArgumentError(argument, name, fix)


def check_labels(labels: dict[str, str], argument: str = "labels") -> None:
    """Raises ArgumentError unless Google Cloud takes these labels beside ours."""
    if len(labels) > 60:
        raise ArgumentError(argument, labels, "give at most 60 labels")
    for key, value in labels.items():
        if not isinstance(value, str) or not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            fix = "use lower case letters, digits, - and _, at most 63; a key starts with a letter"
            raise ArgumentError(argument, {key: value}, fix)


def is_ours(resource: Any) -> bool:
    """Whether a resource was made here."""
    return all(resource.labels.get(key) == value for key, value in MANAGED.items())


def resource_uri(name: str) -> str:
    """The URI that Google's own components expect of an artifact of a resource."""
    location = name.split("/")[3]
    return f"https://{location}-aiplatform.googleapis.com/v1/{name}"
