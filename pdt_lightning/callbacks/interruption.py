"""Interruption: stops a run on Ctrl-C and SIGTERM where it can go on from exactly."""

from pathlib import Path
from typing import Any

import lightning

from pdt_lightning.core.distributed import anywhere
from pdt_lightning.core.signals import Interrupted, StopRequest

AGREE_EVERY = 10  # updates between two questions to all ranks whether one was asked to stop


class Interruption(lightning.Callback):
    """Saves `last.ckpt` after the update in which the run was asked to stop, and raises `Interrupted`.

    Lightning cannot go on from within a validation. So `last.ckpt` is saved before the last update of each epoch too: a run that
    ends in the validation or the tuning that follow, in whatever way, makes that update again and validates; the tuning's rollouts
    come from its journal.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: Path):
        self.path = folder / "last.ckpt"
        self.request = StopRequest()
        self._stops = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen, in place of Lightning, which would end the run at once."""
        self.request.listen()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if asked to stop, and before the last update."""
        each, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
        if (batch_idx + 1) % each or batch_idx + 1 >= batches:  # gradients are not saved; the epoch's end is the validation's
            return
        stop = self._asked(trainer, (batch_idx + 1) // each)
        if stop or batch_idx + 1 + each >= batches or trainer.global_step + 1 == trainer.max_steps:
            trainer.save_checkpoint(self.path)
        self._stops = stop

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Stop, now that the logger has what the update before reported."""
        if self._stops:
            raise Interrupted(f"after update {trainer.global_step:,}, in epoch {trainer.current_epoch}")

    def on_validation_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop if asked to."""
        if not trainer.sanity_checking and self._asked(trainer, 0):
            raise Interrupted(f"in the validation after update {trainer.global_step:,}, which will be made anew")

    def _asked(self, trainer: lightning.Trainer, update: int) -> bool:
        heard = self.request.heard
        if trainer.world_size == 1:
            return heard
        return update % AGREE_EVERY == 0 and anywhere(heard)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The run is over."""
        self.request.cease()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException) -> None:
        """As above."""
        self.request.cease()
