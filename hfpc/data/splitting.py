"""How many rows of each stratum go where. Counting only: which rows they are, `hfpc.data.index` draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from hfpc.errors import ArgumentError

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Rows of one stratum: `kept` in all, of which `test` and `validation` leave their split."""

    kept: int
    test: int = 0
    validation: int = 0


def check_shares(validation_share: float, test_share: float) -> None:
    """Raises ArgumentError unless both shares are at least 0 and leave something for training."""
    for name, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not 0 <= share < 1:
            raise ArgumentError(name, share, "give a share of at least 0 and below 1, e.g. 0.1")
    if validation_share + test_share >= 1:
        fix = f"together with validation_share={validation_share} nothing is left for training; give smaller shares"
        raise ArgumentError("test_share", test_share, fix)


def apportion(counts: Mapping[Key, int], total: int) -> dict[Key, int]:
    """Divides `total` in proportion to `counts`: exactly in sum, within one for each.

    Args:
        counts: Rows of each stratum; the order of its keys decides who gets the rounding.
        total: At most the sum of the counts.
    """
    whole = sum(counts.values())
    before, parts, seen = 0, {}, 0
    for key, count in counts.items():
        seen += count
        until = (2 * seen * total + whole) // (2 * whole) if whole else 0
        parts[key] = min(until - before, count)
        before = until
    return parts


def carve(counts: Mapping[Key, int], validation_share: float, test_share: float) -> dict[Key, tuple[int, int]]:
    """Rows of each stratum for validation and for the test.

    A stratum that has fewer rows than there are splits stays in train, and train always keeps at
    least one row of each, so that no label is only ever tested.

    Args:
        counts: Rows of each stratum.
        validation_share: Share for validation, 0 to 1.
        test_share: Share for the test, 0 to 1.
    """
    splits = 1 + (validation_share > 0) + (test_share > 0)
    large = {key: count for key, count in counts.items() if count >= splits}
    share = validation_share + test_share
    held_out = apportion(large, round(share * sum(large.values())))
    held_out = {key: min(held_out[key], count - 1) for key, count in large.items()}
    test = apportion(held_out, round(test_share / share * sum(held_out.values())) if share else 0)
    return {key: (held_out[key] - test[key], test[key]) if key in large else (0, 0) for key in counts}
