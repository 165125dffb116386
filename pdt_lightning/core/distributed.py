"""The only place with collectives: share work over ranks, gather results or errors, raise alike everywhere."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.signals import Interrupted

T = TypeVar("T")
# How Lightning's `log` is told that every rank has the number already: no collective, and no remark that one lacks.
ALIKE: Mapping[str, Any] = MappingProxyType({"sync_dist": True, "rank_zero_only": True})


def shard(items: Sequence[T], rank: int, world_size: int) -> list[T]:
    """This rank's share, which may be empty.

    >>> shard("abcde", rank=1, world_size=2)
    ['b', 'd']
    """
    return list(items[rank::world_size])


def attempt(work: Callable[[], T]) -> T | Exception:
    """What `work` returns, or the exception it raises, so that a rank that fails still reaches the gathering."""
    try:
        return work()
    except Exception as error:  # whatever it is, `gather` raises it on every rank
        return error


def gather(outcome: T | Exception) -> list[T]:
    """Every rank's outcome, in the order of ranks; a collective, to be reached by all ranks.

    Raises:
        Interrupted: on all ranks, if any rank was.
        RuntimeError: on all ranks, if any rank's outcome is an error; with one process, that error itself. An error of
            the user's stays one.
    """
    if not _several():
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome]
    everything: list[T | Exception] = [outcome] * dist.get_world_size()
    if isinstance(outcome, Exception) and not isinstance(outcome, UserError | Interrupted):
        # An exception may not survive pickling, its words do.
        outcome = RuntimeError(f"{type(outcome).__name__}: {outcome}")
    dist.all_gather_object(everything, outcome)
    for rank, one in enumerate(everything):
        if isinstance(one, UserError | Interrupted):
            raise one
        if isinstance(one, Exception):
            raise RuntimeError(f"on rank {rank}: {one}") from one
    return everything  # type: ignore[return-value]  # no exception is left


def mean(value: Tensor) -> Tensor:
    """The mean of every rank's value, without its gradient; a collective that nobody has to wait for on a GPU."""
    value = value.detach().clone()
    if _several():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def anywhere(flag: bool) -> bool:
    """Whether the flag is up on any rank; a collective."""
    return any(gather(flag))
