"""Text of tokens that come one by one."""

from collections.abc import Sequence
from typing import Any

_BEFORE = 6
"""Tokens of the prompt that are decoded with the first new one, which may need them for its space."""

_CHARACTER = 4
"""Tokens that one character takes at most: its bytes in UTF-8."""


class IncrementalText:
    """Gives text out as soon as it cannot change, nor turn out to be the start of a stop text.

    Args:
        tokenizer: A Transformers tokenizer.
        special: Ids of the tokens that stand for no text.
        prompt: Token ids before the first new one.
        stops: Texts that end it.

    Attributes:
        stopped: Whether a stop text came. Neither it nor what follows is given out.
    """

    def __init__(
        self, tokenizer: Any, special: frozenset[int], prompt: Sequence[int], stops: Sequence[str] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._ids = [token for token in prompt if token not in special][-_BEFORE:]
        self._given = len(self._ids)
        self._stops = stops
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What is certain once this token is there; "" for nothing yet."""
        if token in self._special:
            return ""
        self._ids.append(token)
        before, now = self._tokenizer.decode(self._ids[: self._given]), self._tokenizer.decode(self._ids)
        pending = len(self._ids) - self._given
        # A character may lack bytes that are still to come; a space at the start of a text is no text by itself.
        if (now.endswith("\ufffd") and pending < _CHARACTER) or len(now) <= len(before):
            return ""
        self._ids, self._given = self._ids[self._given :], pending
        self._held += now[len(before) :]
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.stopped = True
            text, self._held = self._held[: min(places)], ""
            return text
        return self._take(len(self._held) - self._begun())

    def rest(self) -> str:
        """What was held back, as no token follows; half a character is dropped."""
        return self._take(len(self._held))

    def _take(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _begun(self) -> int:
        """Characters at the end that may be the start of a stop text."""
        longest = min(len(self._held), max(map(len, self._stops), default=0))
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
