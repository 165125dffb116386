"""Interruption: keeps `last.ckpt`, and stops a run on Ctrl-C and SIGTERM where it can go on from exactly."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from pdt_lightning.callbacks.trainer_state import epoch_is_over
from pdt_lightning.core.distributed import anywhere
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.signals import Interrupted, StopRequest

AGREE_EVERY = 10  # updates between two questions to all ranks whether one was asked to stop


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then renames it.

    Lightning writes it into the folder for temporary files, from which a move to another disk is a copy: what ends
    there, or a full disk, leaves a part of the new checkpoint and nothing of the old one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """As Lightning's, but on a disk of this machine the old file stays until the new one is whole."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(path, content.getbuffer())


class Best(ModelCheckpoint):
    """`best.ckpt`, of the lowest validation error.

    It is a class of its own, so that its state is not taken for that of a user's.
    """

    def __init__(self, folder: Path):
        super().__init__(
            folder, "best", monitor="val/action_error", enable_version_counter=False, save_on_train_epoch_end=False
        )


class Interruption(Checkpoint):
    """Keeps `last.ckpt`, from which a run goes on as if it had never stopped.

    Asked to stop, it saves that file and raises `Interrupted`.

    It is saved after each validation and at the end of training. Lightning cannot go on from
    within a validation. So it is saved before each update that a validation or an epoch's end follows too: a run that
    ends there, in whatever way, makes that update again; the tuning's rollouts come from its journal.

    Lightning takes an epoch in whose middle training ended (`max_steps`, `max_time`) for a whole one. A checkpoint of
    such an end holds what Lightning counted after the last update instead, so that the rest of the epoch, its
    validation and its phase are made up for when the run goes on.

    Args:
        folder: of the checkpoints; None: nothing is saved.
    """

    def __init__(self, folder: Path | None):
        self.path = folder / "last.ckpt" if folder else None
        self.request = StopRequest()
        self._stops = False
        self._counted: dict[str, Any] = {}  # by Lightning, after the last update
        self._metrics: dict[str, Tensor] = {}  # that callbacks may monitor, of the checkpoint
        self._saved = -1  # update after which the checkpoint was last saved

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen in Lightning's place, which would end the run at once; restore the numbers that callbacks monitor."""
        self.request.listen()
        trainer.callback_metrics.update(self._metrics)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if asked to stop, and before an update that more than an update follows."""
        each, done, batches = trainer.accumulate_grad_batches, batch_idx + 1, trainer.num_training_batches
        if done % each and done < batches:  # gradients are not saved
            return
        # Where training may end before the next update; it takes too long to do it after each.
        if each > 1 or self._ends(trainer) or trainer.val_check_batch is None or self._validates(trainer, done):
            self._counted = {
                "loop": trainer.fit_loop.state_dict(),
                "epoch": trainer.current_epoch,
                "update": trainer.global_step,
            }
        if done >= batches or self._validates(trainer, done):
            return
        stop = self._asked(trainer, done // each)
        last = trainer.global_step + 1 == trainer.max_steps
        if stop or last or any(n >= batches or self._validates(trainer, n) for n in range(done + 1, done + each + 1)):
            self.save(trainer)
        self._stops = stop

    @staticmethod
    def _ends(trainer: lightning.Trainer) -> bool:
        """Whether training ends now, or would like to."""
        return trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step

    @staticmethod
    def _validates(trainer: lightning.Trainer, done: int) -> bool:
        """Whether a validation follows when so many batches of the epoch are done; one by the clock is not foreseen."""
        every, interval = trainer.check_val_every_n_epoch, trainer.val_check_batch
        if not trainer.enable_validation or not interval or (every and (trainer.current_epoch + 1) % every):
            return False
        before = 0 if every else trainer.fit_loop.total_batch_idx - trainer.fit_loop.batch_idx
        return (before + done) % interval == 0

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

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The run is over; save where it ended without a validation."""
        if self._saved != trainer.global_step:
            self.save(trainer)
        self.request.cease()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Listen no more."""
        self.request.cease()

    def save(self, trainer: lightning.Trainer) -> None:
        """Save as the trainer is now."""
        if self.path is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # its stub has it not
            self._saved = trainer.global_step
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Where the run lives; the numbers that callbacks monitor come with `on_save_checkpoint`."""
        return {"folder": str(self.path and self.path.parent), "metrics": self._metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the numbers, without which its callbacks cannot judge the epoch that has just ended."""
        self._metrics = state_dict["metrics"]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Where training ends in the middle of an epoch, put what Lightning counted after the last update."""
        if "loops" not in checkpoint:
            return
        if state := checkpoint.get("callbacks", {}).get(self.state_key):
            state["metrics"] = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}
        known = self._counted.get("update") == trainer.global_step
        if known and self._ends(trainer) and not epoch_is_over(trainer):
            checkpoint["loops"]["fit_loop"], checkpoint["epoch"] = self._counted["loop"], self._counted["epoch"]

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A run's folder may have been moved: callbacks that save find their files where they are now."""
        states = checkpoint["callbacks"]
        before, now = states.get(self.state_key, {}).get("folder"), self.path and self.path.parent
        for key, state in states.items():
            if before and now and before != str(now) and "dirpath" in state:
                moved = _moved(state, before, str(now))
                if os.path.exists(moved["best_model_path"]):
                    states[key] = moved


def _moved(value: Any, before: str, now: str) -> Any:
    """Paths within one folder as those within another, however they are nested."""
    if isinstance(value, Mapping):
        return {_moved(key, before, now): _moved(item, before, now) for key, item in value.items()}
    if isinstance(value, str) and (value == before or value.startswith(before + os.sep)):
        return now + value[len(before) :]
    return value
