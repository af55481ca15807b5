"""A model folder's fast tokenizer without Transformers, whose import takes as long as a server's whole start.

It reads `tokenizer.json`, which `save_pretrained` writes, through the `tokenizers` library that
Transformers' own fast tokenizers are made of, so the token ids are the same.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Encoding

_NAMES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_PADDING = ("pad_token", "eos_token")
"""Tokens that may fill a row up, the first there is."""


class FastTokenizer:
    """What tasks need of a tokenizer, called as a Transformers tokenizer is.

    Threads may share it as long as they cut rows alike: how much to cut is a state of the tokenizer.

    Args:
        folder: A model folder with `tokenizer.json` and `tokenizer_config.json`.

    Raises:
        ModelError: They are not there, or cannot be read.

    Attributes:
        pad_token_id: Id that fills rows up.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        try:
            config = dict(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")))
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises Exception itself
            raise ModelError(f"{folder} has no fast tokenizer that loads: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._side = config.get("truncation_side") or "right"
        token = next((config[name] for name in _PADDING if config.get(name)), None)
        text = token["content"] if isinstance(token, dict) else token
        self.pad_token_id = (self._tokenizer.token_to_id(text) if text else None) or 0

    def __call__(
        self,
        rows: Sequence[str] | Sequence[list[str]],
        *,
        truncation: bool,
        max_length: int | None,
        is_split_into_words: bool = False,
    ) -> "Encodings":
        """Token ids and masks of rows, not padded.

        Args:
            rows: Texts, or lists of words.
            truncation: Whether to cut rows.
            max_length: Tokens a row is cut to, special ones included.
            is_split_into_words: Whether rows are lists of words.
        """
        self._cut(max_length if truncation else None)
        return Encodings(self._tokenizer.encode_batch(rows, is_pretokenized=is_split_into_words))

    def _cut(self, max_length: int | None) -> None:
        """Sets how much is cut, where that changes: another thread may be encoding."""
        now = self._tokenizer.truncation
        if max_length is None:
            if now is not None:
                self._tokenizer.no_truncation()
        elif now is None or (now["max_length"], now["direction"]) != (max_length, self._side):
            self._tokenizer.enable_truncation(max_length, direction=self._side)


class Encodings(Mapping[str, list[list[int]]]):
    """Encoded rows: a list for each row under `input_ids`, `attention_mask` and `token_type_ids`."""

    def __init__(self, encodings: Sequence["Encoding"]) -> None:
        self._encodings = encodings

    def __getitem__(self, name: str) -> list[list[int]]:
        return [getattr(encoding, _NAMES[name]) for encoding in self._encodings]

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def word_ids(self, row: int) -> list[int | None]:
        """For each token of a row, the index of the word it is of; None for a special token."""
        ids: list[Any] = self._encodings[row].word_ids
        return ids
