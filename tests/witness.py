"""Runs of `fit` in this process, and what happened in them: updates, validations, phases, the weights judged."""

import csv
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from pdt_lightning import fit
from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.commands.cli import RunCLI
from tests.conftest import POINT_FLAGS

QUICK = [
    *POINT_FLAGS,
    "--tuning.tasks=[point/07]",
    "--tuning.tuner=random_search",
    "--tuning.rounds=2",
    "--tuning.yardstick_episodes=1",
    "--tuning.verdict_episodes=1",
    "--tuning.oracle_candidates=2",
    "--tuning.progress=false",
    "--data.progress=false",
    "--data.updates_per_epoch=4",
    "--trainer.max_epochs=3",
    "--trainer.logger=false",
    "--name=run",
]


class Kill(BaseException):
    """Ends a run where it is, as SIGKILL would."""


@dataclass
class Seen:
    """What happened in a run: `updates` as (number, epoch, sum of the labels), `validations` as (update, epoch)."""

    updates: list[tuple[int, int, float]] = field(default_factory=list)
    validations: list[tuple[int, int]] = field(default_factory=list)
    judged: dict[str, torch.Tensor] = field(default_factory=dict)
    cli: Any = None
    code: Any = 0

    @property
    def folder(self) -> Path:
        return self.cli.run_folder

    @property
    def saved(self) -> dict[str, Any]:
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)

    @property
    def phases(self) -> list[tuple[int, int]]:
        """(number, epoch) of each."""
        with (self.folder / "tuning.csv").open(newline="") as file:
            return sorted({(int(row["phase"]), int(row["epoch"])) for row in csv.DictReader(file)})

    @property
    def judged_is_saved(self) -> bool:
        saved = self.saved["state_dict"]
        return all(torch.equal(values, saved[f"model.{name}"]) for name, values in self.judged.items())


class Witness(lightning.Callback):
    """Writes down what happens; ends the run before the update, or in the validation after it, that `kill` names."""

    def __init__(self, seen: Seen, kill: tuple[str, int] | None):
        self.seen, self.kill, self.digest = seen, kill, 0.0

    def _reached(self, where: str, trainer: lightning.Trainer) -> None:
        if self.kill == (where, trainer.global_step):
            raise Kill

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.digest += float(batch.labels.sum())
        self._reached("training", trainer)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or batch_idx + 1 == trainer.num_training_batches:
            self.seen.updates.append((trainer.global_step, trainer.current_epoch, self.digest))
            self.digest = 0.0

    def on_validation_start(self, trainer, module):
        if not trainer.sanity_checking:
            self._reached("validation", trainer)

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.seen.validations.append((trainer.global_step, trainer.current_epoch))

    def on_train_epoch_end(self, trainer, module):
        self._reached("epoch", trainer)

    def on_train_end(self, trainer, module):
        self._reached("end", trainer)


class Late(Witness, Checkpoint):
    """The same after all others: what it ends was saved."""


def run(monkeypatch, folder, *flags, kill=None, late=False, callbacks=()):
    """A run of the point, in this process."""
    seen = Seen()
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after, policy = RunCLI.after_instantiate_classes, PromptTuning._policy

        def join(cli):
            seen.cli = cli
            cli.trainer.callbacks.insert(0, Witness(seen, None if late else kill))
            cli.trainer.callbacks.extend([*callbacks, *([Late(Seen(), kill)] if late else [])])
            after(cli)

        def noted(tuning, module):
            seen.judged = {name: values.clone() for name, values in module.model.state_dict().items()}
            return policy(tuning, module)

        patch.setattr(RunCLI, "after_instantiate_classes", join)
        patch.setattr(PromptTuning, "_policy", noted)
        patch.setattr("sys.argv", ["fit"])
        try:
            fit.main([*QUICK, f"--trainer.default_root_dir={folder}", *flags])
        except SystemExit as end:
            seen.code = end.code
        except Kill:
            seen.code = "killed"
    return seen
