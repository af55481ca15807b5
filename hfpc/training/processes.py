"""What processes that train together do together; a process that trains alone does it alone."""

from collections.abc import Callable
from typing import Any, TypeVar

from hfpc.errors import HfpcError

T = TypeVar("T")


def broadcast(value: Any) -> Any:
    """The value that rank 0 has, in every process."""
    from torch import distributed

    if not distributed.is_initialized():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: T) -> list[T]:
    """The values of all processes, by their ranks, in every process."""
    from torch import distributed

    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def together(work: Callable[[], T]) -> list[T]:
    """Does something in every process. Where it fails in one it fails in all, so that none waits in vain.

    Args:
        work: What to do; it waits for no other process.

    Returns:
        What each process got, by their ranks.

    Raises:
        HfpcError: The work failed in another process; its message is quoted.
        Exception: What `work` raised in this one.
    """
    try:
        value = work()
    except Exception as error:
        gather((None, f"{error}" if isinstance(error, HfpcError) else f"{type(error).__name__}: {error}"))
        raise
    outcomes: list[tuple[Any, str]] = gather((value, ""))
    for rank, (_, failure) in enumerate(outcomes):
        if failure:
            raise HfpcError(f"rank {rank} failed: {failure}")
    return [got for got, _ in outcomes]
