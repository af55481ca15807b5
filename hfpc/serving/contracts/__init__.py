"""How each hosting platform asks, and wants to be answered. One file a contract.

A contract turns the body of a request into a `Call`, and the responses of the model, which have the
shapes of the Hub's task specifications, into the body that its clients expect. It knows no model and
does no waiting: `hfpc.serving.app` reads, bounds, times and counts requests alike for all of them.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a contract may read of a request.

    Attributes:
        body: The body, no longer than the server takes.
        headers: Header names in lower case to their values.
        path: Values of the path's placeholders.
    """

    body: bytes
    headers: Mapping[str, str]
    path: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is asked of the model.

    Attributes:
        inputs: One or more inputs of the model's task.
        parameters: Parameters of the task.
        single: Whether there was one input outside a list.
        stream: Whether the parts of the response are wanted as they are made.
        notes: What the contract needs again to respond, e.g. the id of the request.
    """

    inputs: list[Any]
    parameters: Mapping[str, Any]
    single: bool = False
    stream: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One way to ask for predictions.

    Attributes:
        name: Name of the platform, as metrics and logs have it.
        path: Path of its route, with the placeholders of `hfpc.serving.contracts.placeholders`.
        summary: What it is for, a few words, for the OpenAPI page.
        parse: Makes a call of a request. Raises ArgumentError or RefusedError.
        respond: Makes the HTTP response of the model's responses, one for each input.
        request: Example of a JSON body, for the OpenAPI page.
        response: Example of a JSON answer, for the OpenAPI page.
        stream: Makes the chunks of a streamed HTTP response (server-sent events) of the parts of
            the model's response; None where the contract has no such thing.
        error: Makes the JSON content of an error; None for `{"error": message}`.
        tasks: Names of the tasks that it is for; empty for all.
        schema: JSON schema of a JSON body, in the subset that OpenAPI 3.0 knows.
        other_requests: Media types of bodies that are not JSON, to an example of each.
        other_responses: Media types of answers that are not JSON, to an example of each.
        statuses: Statuses of errors that only this contract gives.
    """

    name: str
    path: str
    summary: str
    parse: Callable[[Asked], Call]
    respond: Callable[[Call, list[Any], "ServedModel"], Response]
    request: Any
    response: Any
    stream: Callable[[Call, AsyncIterator[Any], "ServedModel"], AsyncIterator[bytes]] | None = None
    error: Callable[[int, str], Any] | None = None
    tasks: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    other_requests: Mapping[str, str] = field(default_factory=dict)
    other_responses: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One way to ask about the server: is it alive, is it ready, what does it serve?

    Attributes:
        path: Path of its route, with the placeholders of `hfpc.serving.contracts.placeholders`.
        summary: What it is for, a few words, for the OpenAPI page.
        content: Makes the JSON answer from the warm model, and the path's placeholders.
        needs_model: Whether it answers 503 until the model is warm. Where not, `content` gets None
            as long as there is none.
    """

    path: str
    summary: str
    content: Callable[["ServedModel | None", Mapping[str, str]], Any]
    needs_model: bool = True
