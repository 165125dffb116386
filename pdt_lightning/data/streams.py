"""Batches in the order in which Lightning takes them: new ones for every update, the same ones for every validation."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import IterableDataset

from pdt_lightning.data.batches import Batch


class UpdateStream(IterableDataset):
    """Training batches, beginning with that of the trainer's current update.

    So a resumed run goes on with the batch at which it stopped, whatever the length of an epoch.

    Lightning alone knows when an epoch ends: after `updates` of them, or, with `limit_train_batches`, earlier.

    Args:
        batch: makes a rank's share of a batch, from its number, the rank and the number of ranks.
        updates: number of updates in an epoch.
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
        trainer, each = self.trainer, self._batches_per_update
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        update = trainer.global_step if trainer else 0
        # With `overfit_batches` every epoch has the same ones.
        repeated = trainer.num_training_batches if trainer and trainer.overfit_batches else None
        first = (update % math.ceil(repeated / each) if repeated else update) * each
        for number in range(first, first + len(self)):
            yield self.batch(number % repeated if repeated else number, rank, world_size)


class FixedBatches(IterableDataset):
    """The same batches at every validation.

    All ranks have equally many, since under DDP each batch is a collective. It is iterable, so that Lightning adds no
    sampler of its own: each rank holds its share already.

    Args:
        whole: all rows of this rank.
        batches: into how many batches they are divided.
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
