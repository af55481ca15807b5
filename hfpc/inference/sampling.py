"""How the tokens of a text are chosen: the parameters of text generation."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hfpc.errors import ArgumentError

_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "decoder_input_details": (False,),
    "num_return_sequences": (1,),
    "watermark": (False,),
}
"""Parameters of the Hub's specification that are not offered, and the values that ask for nothing."""

_COLDEST = 0.01
"""Temperatures below draw nothing but the likeliest token, and would overflow."""

_SEEDS = 2**63
_STOPS, _STOP_CHARACTERS = 16, 256


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Parameters of text generation, named as in the Hub's specification.

    The likeliest token is always taken, so that the same request gives the same text, unless
    `do_sample`, `temperature`, `top_k` or `top_p` ask for drawing.

    Attributes:
        max_new_tokens: Tokens at most; fewer where the model's context ends before. The default is
            that of Hugging Face's own servers and clients.
        do_sample: Whether tokens are drawn; None for what the others say.
        temperature: 0 (never draws) to 2; 1 draws as the model predicts.
        top_k: Draws only from so many of the likeliest tokens.
        top_p: Draws only from the likeliest tokens that have this probability together, above 0 to 1.
        repetition_penalty: Above 1 makes tokens that are there already less likely; 1 does nothing.
        seed: Makes drawing repeatable on the same machine; None for another draw each time.
        stop: Texts that end the generation, themselves left out.
        return_full_text: Whether the answer starts with the prompt.
        details: Whether the answer tells why it ended and of which tokens it is made.

    Raises:
        ArgumentError: A value cannot be used.
    """

    max_new_tokens: int = 100
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    return_full_text: bool = False
    details: bool = False

    def __post_init__(self) -> None:
        for name in ("do_sample", "return_full_text", "details"):
            self._check(name, lambda value: isinstance(value, bool), "give true or false")
        for name in ("max_new_tokens", "top_k"):
            self._check(name, lambda value: _is_whole(value) and value >= 1, "give a whole number of at least 1")
        seeds = f"give a whole number from {-_SEEDS} to {_SEEDS - 1}"
        self._check("seed", lambda value: _is_whole(value) and -_SEEDS <= value < _SEEDS, seeds)
        self._check("temperature", lambda value: _is_number(value) and 0 <= value <= 2, "give a number from 0 to 2")
        self._check("top_p", lambda value: _is_number(value) and 0 < value <= 1, "give a number above 0, at most 1")
        penalties = "give a number from 0.1 to 10; 1 does nothing"
        self._check("repetition_penalty", lambda value: _is_number(value) and 0.1 <= value <= 10, penalties)
        stops = f"give at most {_STOPS} texts of 1 to {_STOP_CHARACTERS} characters"
        self._check("stop", _are_stops, stops)

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> "Sampling":
        """Reads the parameters of a request; null is the default.

        Raises:
            ArgumentError: A parameter is unknown or its value cannot be used.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        given = {name: value for name, value in parameters.items() if value is not None}
        for name, value in given.items():
            if name not in names and not _asks_nothing(name, value):
                raise ArgumentError("parameters", name, f"unknown parameter; known ones are {', '.join(names)}")
        found = {name: value for name, value in given.items() if name in names}
        if isinstance(found.get("stop"), list):
            found["stop"] = tuple(found["stop"])
        return cls(**found)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        if self.do_sample is False or (self.temperature is not None and self.temperature < _COLDEST):
            return False
        return bool(self.do_sample) or (self.temperature, self.top_k, self.top_p) != (None, None, None)

    def _check(self, name: str, fits: Callable[[Any], bool], fix: str) -> None:
        value = getattr(self, name)
        if value is not None and not fits(value):
            raise ArgumentError(name, value, fix)


def _asks_nothing(name: str, value: Any) -> bool:
    return any(type(value) is type(nothing) and value == nothing for nothing in _WITHOUT_EFFECT.get(name, ()))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_stops(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) > _STOPS:
        return False
    return all(isinstance(stop, str) and 1 <= len(stop) <= _STOP_CHARACTERS for stop in value)
