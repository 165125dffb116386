"""Batches in the order in which Lightning takes them: new ones for every update, the same ones for every validation."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import IterableDataset

from pdt_lightning.data.batches import Batch


class UpdateStream(IterableDataset):
    """Batches of one epoch, from the trainer's current update on, so that a resumed run goes on where it stopped.

    Args:
        batch: makes a rank's share of a batch, from its number, the rank and the number of ranks.
        updates: of an epoch.
        trainer: Lightning's, which knows how far training has come; None outside of it.
    """

    def __init__(self, batch: Callable[[int, int, int], Batch], updates: int, trainer: Any):
        self.batch, self.updates, self.trainer = batch, updates, trainer

    @property
    def _batches_per_update(self) -> int:
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    def __len__(self) -> int:
        return self.updates * self._batches_per_update

    def __iter__(self) -> Iterator[Batch]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        first = self.trainer.global_step * self._batches_per_update if self.trainer else 0
        for number in range(first, first + len(self) - first % len(self)):
            yield self.batch(number, rank, world_size)


class FixedBatches(IterableDataset):
    """The same batches at every validation; as many on every rank, since each is a collective under DDP.

    Iterable, so that Lightning adds no sampler of its own: each rank holds its share already.
    """

    def __init__(self, whole: Batch, batches: int):
        self.whole, self.batches = whole, batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        whole, size = self.whole, len(self.whole.task)
        for number in range(self.batches):
            rows = slice(number * size // self.batches, (number + 1) * size // self.batches)
            yield Batch(whole.context[rows], whole.prompt[rows], whole.labels[rows], whole.task[rows], whole.steps)
