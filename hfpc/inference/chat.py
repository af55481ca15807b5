"""Conversations as text, written by the chat template that comes with a model."""

from typing import Any

from hfpc.errors import ArgumentError

_EMPTY = ("annotations", "audio", "function_call", "name", "refusal", "tool_calls")
"""Keys that clients send back, empty, with an answer they got."""

_FORM = 'give a list of {"role": "…", "content": "…"}'


def render(tokenizer: Any, messages: Any) -> str:
    """The text that asks for the next message of a conversation.

    The template, which may come from anywhere, runs in the sandbox that Transformers has for it.

    Args:
        tokenizer: A Transformers tokenizer.
        messages: Messages with `role` and `content`: a text, or a list of parts of type "text".

    Raises:
        ArgumentError: The messages are not of this form, or the model has no template, or it refuses them.
    """
    checked = _checked(messages)
    if not tokenizer.chat_template:
        fix = "this model has no chat template, so it takes no part in conversations: ask it to continue a text"
        raise ArgumentError("messages", f"{len(checked)} messages", fix)
    try:
        text: str = tokenizer.apply_chat_template(checked, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template raises whatever its author, or Python in it, raises
        fix = f"the model's chat template refuses them: {error}"
        raise ArgumentError("messages", f"{len(checked)} messages", fix) from error
    return text


def _checked(messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise ArgumentError("messages", type(messages).__name__, f"{_FORM}, at least one")
    return [_message(index, message) for index, message in enumerate(messages)]


def _message(index: int, message: Any) -> dict[str, str]:
    argument = f"messages[{index}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ArgumentError(argument, type(message).__name__, _FORM)
    for name, value in message.items():
        if name not in ("role", "content") and (value or name not in _EMPTY):
            raise ArgumentError(argument, name, 'leave this out: a message has "role" and "content" here')
    return {"role": message["role"], "content": _content(f"{argument}.content", message.get("content"))}


def _content(argument: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ArgumentError(argument, kind, "give a text: this model reads nothing else")
    return "".join(part["text"] for part in parts)
