"""OpenAI: chat completions and completions, streamed or not, as its clients and most chat tools send them.

Fields that are not known are left aside, as OpenAI's own servers do, since clients send many that
change nothing here. Known ones that would change the answer, but cannot be honoured, are refused.
"""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from hfpc.errors import ArgumentError, HfpcError
from hfpc.inference.plain_model import TEXT_GENERATION
from hfpc.serving.contracts import Asked, Call, Contract, Probe, json_body
from hfpc.serving.refusals import RefusedError

if TYPE_CHECKING:
    from hfpc.serving.engine import ServedModel

PREFIXES = ("", "/openai")
"""Where the routes begin: OpenAI's clients are told where, KServe's runtimes put /openai before."""

_CHAT_TOKENS = 2048
"""Longest answer in a chat that names no length: the API has no limit, but the server's deadline ends it anyway."""

_COMPLETION_TOKENS = 16
"""Longest completion where none is named: the API's own default."""

_SAMPLING = ("temperature", "top_p", "seed", "stop", "top_k", "repetition_penalty")
"""Fields that are parameters of text generation; the last two are what other compatible servers added."""

_REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields that would change the answer, and the values that ask for nothing."""

_FINISH_REASONS = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}
_DONE = b"data: [DONE]\n\n"

_CHAT_REQUEST = {"model": "any", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}
_COMPLETION_REQUEST = {"model": "any", "prompt": "Once upon a time", "max_tokens": 64}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
_FIELDS = {
    "model": {"type": "string"},
    "max_tokens": {"type": "integer", "minimum": 1, "nullable": True},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2, "nullable": True},
    "top_p": {"type": "number", "maximum": 1, "nullable": True},
    "seed": {"type": "integer", "nullable": True},
    "stop": {"oneOf": [{"type": "string"}, {"type": "array", "maxItems": 16, "items": {"type": "string"}}]},
    "stream": {"type": "boolean", "nullable": True},
}


def parse_chat(asked: Asked) -> Call:
    """The call of a conversation."""
    content = _content(asked.body, "messages")
    name = "max_tokens" if content.get("max_completion_tokens") is None else "max_completion_tokens"
    inputs = [{"messages": content["messages"]}]
    return _call(content, inputs, _length(name, content.get(name), _CHAT_TOKENS), "chatcmpl")


def parse_completion(asked: Asked) -> Call:
    """The call of a prompt or a list of them."""
    content = _content(asked.body, "prompt")
    prompts = content["prompt"]
    inputs = prompts if isinstance(prompts, list) else [prompts]
    if not all(isinstance(prompt, str) for prompt in inputs):
        raise ArgumentError("prompt", type(prompts).__name__, "give a text or a list of texts; token ids are not read")
    return _call(content, inputs, _length("max_tokens", content.get("max_tokens"), _COMPLETION_TOKENS), "cmpl")


def respond_chat(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """A `chat.completion` object."""
    message = {"role": "assistant", "content": responses[0]["generated_text"], "refusal": None}
    choices = [_choice(0, _reason(responses[0]["details"]), message=message)]
    return JSONResponse(_body(call, model, "chat.completion", choices, usage=_usage(responses)))


def respond_completion(call: Call, responses: list[Any], model: "ServedModel") -> Response:
    """A `text_completion` object with a choice for each prompt."""
    choices = [
        _choice(index, _reason(response["details"]), text=response["generated_text"])
        for index, response in enumerate(responses)
    ]
    return JSONResponse(_body(call, model, "text_completion", choices, usage=_usage(responses)))


async def stream_chat(call: Call, parts: AsyncIterator[Any], model: "ServedModel") -> AsyncIterator[bytes]:
    """Chunks of a `chat.completion.chunk` stream."""
    name = "chat.completion.chunk"
    yield _chunk(call, model, name, _choice(0, None, delta={"role": "assistant", "content": ""}))
    async for chunk in _chunks(call, parts, model, name, lambda text: {"delta": {"content": text} if text else {}}):
        yield chunk


async def stream_completion(call: Call, parts: AsyncIterator[Any], model: "ServedModel") -> AsyncIterator[bytes]:
    """Chunks of a `text_completion` stream."""
    async for chunk in _chunks(call, parts, model, "text_completion", lambda text: {"text": text}):
        yield chunk


def error(status: int, message: str) -> Any:
    """The content of an error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def models(model: "ServedModel | None", path: Mapping[str, str]) -> Any:
    """The list of models: the one that is served."""
    assert model is not None
    return {"object": "list", "data": [describe(model)]}


def describe(model: "ServedModel") -> dict[str, Any]:
    """The model that is served."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "hfpc"}


async def _chunks(
    call: Call, parts: AsyncIterator[Any], model: "ServedModel", name: str, shape: Any
) -> AsyncIterator[bytes]:
    """A chunk for each part with text, one that tells why it ended, one of the usage if asked for, the end."""
    try:
        async for part in parts:
            if part["token"]["text"]:
                yield _chunk(call, model, name, _choice(0, None, **shape(part["token"]["text"])))
            if part["details"] is not None:
                yield _chunk(call, model, name, _choice(0, _reason(part["details"]), **shape("")))
                if call.notes["include_usage"]:
                    yield json_body.event(_body(call, model, name, [], usage=_usage([part])))
    except HfpcError as failed:  # the status is sent already: clients read errors from the stream, too
        yield json_body.event(error(503, str(failed)))
    yield _DONE


def _content(body: bytes, required: str) -> dict[str, Any]:
    content = json_body.parse(body)
    if not isinstance(content, dict) or content.get(required) is None:
        raise RefusedError(400, f"the body must be an object with {required!r}")
    for name, harmless in _REFUSED.items():
        value = content.get(name)
        if value is not None and not any(_same(value, one) for one in harmless):
            raise ArgumentError(name, value, "leave it out: this server cannot do that")
    return content


def _same(value: Any, other: Any) -> bool:
    """Whether two values of JSON are equal; Python takes 0 for false, but `logprobs=0` asks for some."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _call(content: dict[str, Any], inputs: list[Any], length: int, kind: str) -> Call:
    parameters = {name: content[name] for name in _SAMPLING if content.get(name) is not None}
    if isinstance(parameters.get("stop"), str):
        parameters["stop"] = [parameters["stop"]]
    parameters.setdefault("temperature", 1)  # the API's own default
    notes = {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "include_usage": json_body.flag(json_body.parameters(content, "stream_options"), "include_usage"),
    }
    parameters |= {"max_new_tokens": length, "details": True}
    return Call(inputs=inputs, parameters=parameters, stream=json_body.flag(content, "stream"), notes=notes)


def _length(name: str, value: Any, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(name, value, "give a whole number of at least 1")
    return value


def _choice(index: int, finish_reason: str | None, **shape: Any) -> dict[str, Any]:
    return {"index": index, **shape, "logprobs": None, "finish_reason": finish_reason}


def _reason(details: Mapping[str, Any]) -> str:
    return _FINISH_REASONS[details["finish_reason"]]


def _usage(responses: list[Any]) -> dict[str, int]:
    """Tokens that were read and made, the one that ends a text among them."""
    prompt = sum(response["details"]["input_length"] for response in responses)
    completion = sum(response["details"]["generated_tokens"] for response in responses)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _body(call: Call, model: "ServedModel", name: str, choices: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": call.notes["id"],
        "object": name,
        "created": call.notes["created"],
        "model": model.name,
        "system_fingerprint": model.fingerprint[:16],
        "choices": choices,
        **more,
    }


def _chunk(call: Call, model: "ServedModel", name: str, choice: dict[str, Any]) -> bytes:
    usage = {"usage": None} if call.notes["include_usage"] else {}
    return json_body.event(_body(call, model, name, [choice], **usage))


def _example(name: str, **choice: Any) -> dict[str, Any]:
    choices = [{"index": 0, **choice, "logprobs": None, "finish_reason": "stop"}]
    return {"id": "…", "object": name, "created": 1, "model": "…", "choices": choices, "usage": _USAGE}


def _contracts(prefix: str) -> list[Contract]:
    messages = {"type": "array", "minItems": 1, "items": {"type": "object"}}
    prompt = {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}
    return [
        Contract(
            name="openai",
            path=f"{prefix}/v1/chat/completions",
            summary="OpenAI clients: conversations",
            parse=parse_chat,
            respond=respond_chat,
            stream=stream_chat,
            error=error,
            tasks=(TEXT_GENERATION,),
            request=_CHAT_REQUEST,
            response=_example("chat.completion", message={"role": "assistant", "content": "Hello!"}),
            schema={"type": "object", "required": ["messages"], "properties": {**_FIELDS, "messages": messages}},
        ),
        Contract(
            name="openai",
            path=f"{prefix}/v1/completions",
            summary="OpenAI clients: texts to continue",
            parse=parse_completion,
            respond=respond_completion,
            stream=stream_completion,
            error=error,
            tasks=(TEXT_GENERATION,),
            request=_COMPLETION_REQUEST,
            response=_example("text_completion", text=", there was"),
            schema={"type": "object", "required": ["prompt"], "properties": {**_FIELDS, "prompt": prompt}},
        ),
    ]


CONTRACTS = [contract for prefix in PREFIXES for contract in _contracts(prefix)]
PROBES = [Probe(path="/openai/v1/models", summary="What OpenAI clients list as models", content=models)]
"""`/v1/models` is KServe's as well: `hfpc.serving.contracts.kserve` answers both."""
