"""What every kind of Vertex AI resource has in common: names, labels, lists with filters, long operations."""

import re
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import timestamp_pb2
from google.rpc import status_pb2

from tests.cloud.faults import Faults
from tests.cloud.vertex_names import Objects
from tests.cloud.vertex_wire import VertexError

CODES = {"INVALID_ARGUMENT": 3, "FAILED_PRECONDITION": 9, "INTERNAL": 13}
PARENT = re.compile(r"projects/[a-z0-9-]+/locations/[a-z]+-[a-z]+[0-9]")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_TERM = re.compile(r'(?:labels\.(?P<label>[\w-]+)|(?P<field>display_name))\s*=\s*"?(?P<value>[^"]*)"?')

_GRACE_SECONDS = 1.0
"""How long the call that starts work waits for it, so that what is quick is done when the call is answered."""


@dataclass
class Long:
    """A long operation, what is still to be asked of it before it is done, and the work that it stands for."""

    operation: operations_pb2.Operation
    polls: int
    work: "futures.Future[Any]"


class Resources:
    """The state, and how it is kept.

    Attributes:
        objects: Resource name to object, of every kind; versions of models have names with `@`.
        faults: Which calls go wrong.
        admits: Whether an `authorization` header is let in; None lets all in.
        unknown_requests: What was refused because this server does not know it.
        polls: How often an operation is asked for before it is done.
        lag: In how many lists after it was made an object is not found yet.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = Objects()
        self.faults = Faults()
        self.admits: Callable[[str], bool] | None = None
        self.unknown_requests: list[str] = []
        self.polls = 1
        self.lag = 0
        self._lists_missed: dict[str, int] = {}
        self._operations: dict[str, Long] = {}
        self._number = 100
        self._lock = threading.RLock()

    def reset(self) -> None:
        """Forgets every object, operation and call."""
        with self._lock:
            self.objects.clear()
            self._operations.clear()
            self._lists_missed.clear()
            self.unknown_requests.clear()
            self.faults.clear()
            self.polls, self.lag = 1, 0

    def GetOperation(self, name: str) -> operations_pb2.Operation:
        with self._lock:
            if name not in self._operations:
                raise VertexError("NOT_FOUND", f"Operation {name} is not found.")
            long = self._operations[name]
            if not long.operation.done:
                long.polls -= 1
                if long.polls < 0 and long.work.done():
                    _finish(long)
            return long.operation

    def ListOperations(self, name: str) -> operations_pb2.ListOperationsResponse:
        """The long operations on a resource."""
        with self._lock:
            found = [each.operation for key, each in self._operations.items() if key.startswith(f"{name}/operations/")]
            return operations_pb2.ListOperationsResponse(operations=found)

    def operation(self, parent: str, metadata: Any, work: Callable[[], Any]) -> operations_pb2.Operation:
        """A long operation that answers with what `work` gives, once it was asked for often enough.

        The work goes on in a thread, whether the operation is asked for or not, as one whose name was lost must.
        """
        long = self._begun(parent, metadata)
        threading.Thread(target=do, args=(long.work, work), daemon=True).start()
        futures.wait([long.work], _GRACE_SECONDS)
        with self._lock:
            if not self.polls and long.work.done():
                _finish(long)
        return long.operation

    def _begun(self, parent: str, metadata: Any) -> Long:
        """A long operation whose work somebody else does."""
        with self._lock:
            operation = operations_pb2.Operation(name=f"{parent}/operations/{self.new_number()}")
            operation.metadata.Pack(metadata._pb)
            long = self._operations[operation.name] = Long(operation, self.polls, futures.Future())
        return long

    def new_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def add(self, item: Any, key: str = "") -> Any:
        """Keeps a new object under its name, or under `key`."""
        with self._lock:
            self.objects[key or item.name] = item
            self._lists_missed[key or item.name] = 0
        return item

    def get(self, name: str, kind: str) -> Any:
        if name not in self.objects:
            raise VertexError("NOT_FOUND", f"{kind} {name} is not found.")
        return self.objects[name]

    def listed(self, prefix: str, filter_: str) -> list[Any]:
        """Objects whose names begin so, which the filter keeps and which lists know already, newest first."""
        found, terms = [], _terms(filter_)
        with self._lock:
            for name, item in self.objects.items():
                if name.startswith(prefix) and "@" not in name and _keeps(terms, item):
                    self._lists_missed[name] = self._lists_missed.get(name, 0) + 1
                    if self._lists_missed[name] > self.lag:
                        found.append(item)
        return found[::-1]


def do(future: "futures.Future[Any]", work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _finish(long: Long) -> None:
    operation = long.operation
    try:
        response = long.work.result()
        operation.response.Pack(getattr(response, "_pb", response))
    except VertexError as error:
        operation.error.CopyFrom(status_pb2.Status(code=CODES.get(error.status, 2), message=str(error)))
    operation.done = True


def page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """The part of a list that is asked for, and the token of the next."""
    first, size = int(request.page_token or 0), request.page_size or 100
    rest = str(first + size) if first + size < len(items) else ""
    return items[first : first + size], rest


def now() -> timestamp_pb2.Timestamp:
    time = timestamp_pb2.Timestamp()
    time.GetCurrentTime()
    return time


def check_parent(parent: str) -> None:
    if not PARENT.fullmatch(parent):
        raise VertexError("INVALID_ARGUMENT", f"Invalid parent: {parent}")


def check_names(display_name: str, labels: Iterable[tuple[str, str]]) -> None:
    """As Vertex AI has it: a display name of 1 to 128 characters, at most 64 labels of its form."""
    if not 1 <= len(display_name) <= 128:
        raise VertexError("INVALID_ARGUMENT", "The display name must have 1 to 128 characters.")
    labels = list(labels)
    if len(labels) > 64:
        raise VertexError("INVALID_ARGUMENT", "At most 64 labels are allowed.")
    for key, value in labels:
        if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise VertexError("INVALID_ARGUMENT", f"Invalid label {key}={value}")


def check_mask(mask: Any, *changeable: str) -> list[str]:
    """The fields that an update names."""
    if unknown := set(mask.paths) - set(changeable):
        raise VertexError("INVALID_ARGUMENT", f"{', '.join(sorted(unknown))} cannot be updated.")
    return list(mask.paths)


def delete_metadata() -> Any:
    return v1.DeleteOperationMetadata()


def _terms(filter_: str) -> list[re.Match[str]]:
    """`labels.KEY=VALUE` and `display_name="…"`, joined by AND; all that this server knows of filters."""
    found = []
    for term in filter(None, re.split(r"\s+AND\s+", filter_.strip())):
        match = _TERM.fullmatch(term)
        if not match:
            raise VertexError("INVALID_ARGUMENT", f"this test Vertex AI does not know the filter {term}")
        found.append(match)
    return found


def _keeps(terms: list[re.Match[str]], item: Any) -> bool:
    return all(
        (item.labels.get(term["label"], "") if term["label"] else item.display_name) == term["value"] for term in terms
    )
