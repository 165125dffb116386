"""The only place with collectives: share work over ranks, gather results or errors, raise alike everywhere."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pdt_lightning.core.errors import LostRank, UserError
from pdt_lightning.core.signals import Interrupted

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")
# How long ranks wait for one that plays or computes. Of one that has ended they hear at once.
PATIENCE = timedelta(days=1)
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
        LostRank: if another rank has ended.
        RuntimeError: on all ranks, if any rank's outcome is an error; with one process, that error itself. An error of
            the user's stays one.
    """
    if not several():
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome]
    everything: list[T | Exception] = [outcome] * dist.get_world_size()
    if isinstance(outcome, Exception) and not isinstance(outcome, UserError | Interrupted):
        # An exception may not survive pickling, its words do.
        outcome = RuntimeError(f"{type(outcome).__name__}: {outcome}")
    try:
        dist.all_gather_object(everything, outcome, _patient(dist.group.WORLD))
    except RuntimeError as error:
        raise LostRank(f"rank {place()[0]} cannot reach another rank, which has most likely ended: {error}") from error
    for rank, one in enumerate(everything):
        if isinstance(one, UserError | Interrupted):
            raise one
        if isinstance(one, Exception):
            raise RuntimeError(f"on rank {rank}: {one}") from one
    return everything  # type: ignore[return-value]  # no exception is left


def everywhere(work: Callable[[], T]) -> T:
    """What `work` returns on this rank; what it raises on one rank is raised on all. A collective."""
    outcome = attempt(work)
    gather(outcome if isinstance(outcome, Exception) else None)
    return outcome  # type: ignore[return-value]  # else it was raised


def together(
    work: Callable[[Callable[[Sequence[Item]], list[Result]]], T], do: Callable[[Sequence[Item]], list[Result]]
) -> list[T]:
    """What each rank's own work returns, in the order of ranks, while all share what there is to do; a collective.

    Ranks that ask for something to be done wait for each other, so that what all of them ask for is shared out evenly.
    A rank whose work is over, or that has none, helps the others until all are done.

    Args:
        work: of this rank. It is given a function from items to as many results.
        do: does a share of all ranks' items; may raise, which ends the work of all of them.
    """
    if not several():
        return [work(do)]
    rank, ranks = place()
    ended = False  # whether all ranks know already that one has raised something

    def shared(items: Sequence[Item] | None) -> list[Result] | None:
        """Results of these items; None for a rank whose work is over, and back from all once it is over on all."""
        nonlocal ended
        try:
            asked = gather(items)
            if all(of_rank is None for of_rank in asked):
                return None
            everything = [item for of_rank in asked for item in of_rank or ()]
            bounds = [-(-len(everything) * number // ranks) for number in range(ranks + 1)]
            results = gather(attempt(lambda: do(everything[bounds[rank] : bounds[rank + 1]])))
        except Exception:
            ended = True
            raise
        first = sum(len(of_rank or ()) for of_rank in asked[:rank])
        return [result for share in results for result in share][first : first + len(items or ())]

    outcome = attempt(lambda: work(lambda items: shared(items) or []))
    if ended:
        assert isinstance(outcome, Exception)
        raise outcome
    if not isinstance(outcome, Exception):
        while shared(None) is not None:
            pass
    return gather(outcome)


def mean(value: Tensor) -> Tensor:
    """The mean of every rank's value, without its gradient; a collective that nobody has to wait for on a GPU."""
    value = value.detach().clone()
    if several():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def several() -> bool:
    """Whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def place() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    return (dist.get_rank(), dist.get_world_size()) if several() else (0, 1)


@contextmanager
def joined() -> Iterator[None]:
    """Be a rank beside the others that `torchrun` has started, if it has, while it lasts."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@functools.lru_cache(maxsize=1)
def _patient(world: Any) -> Any:
    """A group of all ranks for what they tell each other, which waits long and keeps no GPU waiting."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def anywhere(flag: bool) -> bool:
    """Whether the flag is up on any rank; a collective."""
    return any(gather(flag))
