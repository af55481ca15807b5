"""How many tokens a row may have: what the model allows, and what the data needs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hfpc import manifest

# Their position ids start after the padding id, so the first embeddings are never used.
_OFFSET_MODELS = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
_UNLIMITED = 1_000_000  # a tokenizer that knows no limit says 10**30

LEAST_CHOSEN = 128
"""Tokens that a model reads however short its training rows are. Texts that it is asked about later may be longer,
and short rows cost no more for it: batches are padded to their longest row only."""


def limit(folder: Path, tokenizer: Any) -> int:
    """Most tokens the model in `folder` takes, 0 where neither it nor its tokenizer has a limit."""
    # The tokenizer of a model that was fine-tuned here says where its data was cut, not what the model takes.
    stated = 0 if (folder / manifest.FILE_NAME).exists() else tokenizer.model_max_length
    limits = [stated] if 0 < stated < _UNLIMITED else []
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    positions = config.get("max_position_embeddings") or config.get("n_positions") or 0
    if positions > 0:
        offset = (config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _OFFSET_MODELS else 0
        limits.append(positions - offset)
    return min(limits, default=0)


def choose(lengths: np.ndarray, most: int) -> int:
    """The 99th percentile of token counts, at least `LEAST_CHOSEN` and at most `most` (0: no limit)."""
    chosen = max(LEAST_CHOSEN, quantiles(lengths)["p99"])
    return min(chosen, most) if most else chosen


def quantiles(lengths: np.ndarray) -> dict[str, int]:
    """`p50`, `p95`, `p99` and `max` of token counts, each a count that occurs."""
    values = np.quantile(lengths, [0.5, 0.95, 0.99, 1.0], method="inverted_cdf")
    return dict(zip(("p50", "p95", "p99", "max"), (int(value) for value in values), strict=True))
